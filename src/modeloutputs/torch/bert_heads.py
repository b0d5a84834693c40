"""BERT's heads: what is put on top of the model, for each task that the paper or its users train it for."""

from typing import Unpack

import torch
from torch import Tensor, nn

from ..architectures import BertConfig
from ..errors import InputError
from .arguments import DecoderInputs, Flags, Inputs
from .bert import BertModel, BertPreTrainedModel
from .generation import GenerationMixin
from .inputs import check_one_given
from .language import kept_positions
from .layers import LayerNorm, Linear, activation
from .losses import NumItems, causal_lm_loss, cross_entropy, question_answering_loss, sequence_classification_loss
from .outputs import (
    CausalLMOutputWithCrossAttentions,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    NextSentencePredictorOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from .pretrained import ModelWithHead
from .products import linear

__all__ = [
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertLMHeadModel",
]


class BertPredictions(nn.Module):
    """Scores for each entry of the vocabulary: dense, activation, norm, and the token embeddings read backwards."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertPredictionTransform(config)
        self.decoder: nn.Linear | None = None
        if config.tie_word_embeddings:
            self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        else:
            self.decoder = Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """Map (B, S, hidden) to (B, S, vocab), `embeddings` being the table (vocab, hidden) that a tied model uses."""
        hidden = self.transform(hidden)
        return linear(hidden, embeddings, self.bias) if self.decoder is None else self.decoder(hidden)


class BertPredictionTransform(nn.Module):
    """Dense, activation and normalisation before the vocabulary scores."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., hidden)."""
        return self.LayerNorm(self.activation(self.dense(hidden)))


class _BertWithHead(ModelWithHead[BertConfig], BertPreTrainedModel):
    """A BERT with something on top."""

    bert: BertModel

    def __init__(self, config: BertConfig, pooling: bool) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=pooling)


def _classifier_dropout(config: BertConfig) -> nn.Dropout:
    return nn.Dropout(config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout)


class BertForMaskedLM(_BertWithHead):
    """Predicts masked tokens (section 3.1, "Masked LM"); returns MaskedLMOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=False)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> MaskedLMOutput:
        """Return logits (B, S, vocab) and, with `labels` (B, S), the loss over those that are not -100."""
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.cls["predictions"](outputs.last_hidden_state, self.get_input_embeddings().weight)
        loss = None
        if labels is not None:
            loss = cross_entropy(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(MaskedLMOutput, outputs, return_dict, loss=loss, logits=logits)


class BertLMHeadModel(GenerationMixin, _BertWithHead):
    """Predicts each next token; returns CausalLMOutputWithCrossAttentions.

    Raises:
        InputError: `config.is_decoder` is off: an encoder would see the token that it is to predict.
    """

    def __init__(self, config: BertConfig) -> None:
        if not config.is_decoder:
            raise InputError("BertLMHeadModel needs config.is_decoder=True: an encoder sees the token it is to predict")
        super().__init__(config, pooling=False)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[DecoderInputs],
    ) -> CausalLMOutputWithCrossAttentions:
        """Return logits (B, S, vocab) and, with `labels` (B, S) aligned with the tokens, the loss of each next one.

        With labels, `use_cache` is off unless passed: training has no use for a cache.
        """
        if use_cache is None and labels is not None:
            use_cache = False
        outputs = self.bert(input_ids, attention_mask, token_type_ids, use_cache=use_cache, return_dict=True, **inputs)
        hidden = kept_positions(outputs.last_hidden_state, logits_to_keep, labels)
        logits = self.cls["predictions"](hidden, self.get_input_embeddings().weight)
        loss = None
        if labels is not None:
            loss = causal_lm_loss(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(CausalLMOutputWithCrossAttentions, outputs, return_dict, loss=loss, logits=logits)


class BertForNextSentencePrediction(_BertWithHead):
    """Tells whether the second text follows the first (section 3.1); returns NextSentencePredictorOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=True)
        self.cls = nn.ModuleDict({"seq_relationship": Linear(config.hidden_size, 2)})
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> NextSentencePredictorOutput:
        """Return logits (B, 2) and, with `labels` (B,), the loss: 0 where the second text follows, 1 where not.

        `next_sentence_label`, as the page calls it, is another name for `labels`.
        """
        if labels is not None and next_sentence_label is not None:
            raise InputError("both labels and next_sentence_label were passed; they are one argument")
        labels = next_sentence_label if labels is None else labels
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.cls["seq_relationship"](outputs.pooler_output)
        loss = None
        if labels is not None:
            flat = labels.reshape(-1)
            loss = cross_entropy(logits, flat, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(NextSentencePredictorOutput, outputs, return_dict, loss=loss, logits=logits)


class BertForSequenceClassification(_BertWithHead):
    """Gives each row a class, several classes or a number; returns SequenceClassifierOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=True)
        self.dropout = _classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> SequenceClassifierOutput:
        """Return logits (B, labels) and, with `labels`, the loss that `sequence_classification_loss` chooses."""
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            problem_type = self.config.problem_type
            loss = sequence_classification_loss(
                logits, labels, problem_type, num_items=num_items, label_smoothing=label_smoothing
            )
        return self._finish(SequenceClassifierOutput, outputs, return_dict, loss=loss, logits=logits)


class BertForMultipleChoice(_BertWithHead):
    """Chooses among alternatives; returns MultipleChoiceModelOutput. Inputs have a choices axis (B, C, S)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=True)
        self.dropout = _classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, 1)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **flags: Unpack[Flags],
    ) -> MultipleChoiceModelOutput:
        """Return logits (B, C) and, with `labels` (B,), the loss. States and attentions have B x C rows.

        Raises:
            InputError: inputs without the choices axis.
        """
        given = check_one_given(input_ids, inputs_embeds)
        if given.dim() != (3 if inputs_embeds is None else 4):
            what = "(batch, choices, seq)" if inputs_embeds is None else "(batch, choices, seq, hidden)"
            raise InputError(f"the input of a multiple-choice model has shape {tuple(given.shape)}; expected {what}")
        ids, mask, types, positions, embeds = (
            None if tensor is None else tensor.flatten(0, 1)
            for tensor in (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        )
        outputs = self.bert(ids, mask, types, position_ids=positions, inputs_embeds=embeds, return_dict=True, **flags)
        logits = self.classifier(self.dropout(outputs.pooler_output)).view(given.shape[:2])
        loss = None
        if labels is not None:
            loss = cross_entropy(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(MultipleChoiceModelOutput, outputs, return_dict, loss=loss, logits=logits)


class BertForTokenClassification(_BertWithHead):
    """Gives each token a class; returns TokenClassifierOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=False)
        self.dropout = _classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> TokenClassifierOutput:
        """Return logits (B, S, labels) and, with `labels` (B, S), the loss over those that are not -100."""
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            loss = cross_entropy(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(TokenClassifierOutput, outputs, return_dict, loss=loss, logits=logits)


class BertForQuestionAnswering(_BertWithHead):
    """Finds where an answer starts and ends (section 4.2); returns QuestionAnsweringModelOutput."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, pooling=False)
        if config.num_labels != 2:
            raise InputError(f"num_labels is {config.num_labels}; question answering has 2, start and end")
        self.qa_outputs = Linear(config.hidden_size, 2)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> QuestionAnsweringModelOutput:
        """Return start and end logits (B, S) and, with both positions (B,), the loss.

        Raises:
            InputError: one of the positions without the other.
        """
        if (start_positions is None) != (end_positions is None):
            raise InputError("only one of start_positions and end_positions was passed; the loss needs both")
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = question_answering_loss(
                start_logits,
                end_logits,
                start_positions,
                end_positions,
                num_items=num_items,
                label_smoothing=label_smoothing,
            )
        logits = {"start_logits": start_logits, "end_logits": end_logits}
        return self._finish(QuestionAnsweringModelOutput, outputs, return_dict, loss=loss, **logits)
