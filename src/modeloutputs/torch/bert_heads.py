"""BERT's heads, for the tasks that the paper or its users train it for.

Arguments are explained in `modeloutputs.torch.arguments`.
"""

from typing import Any, Unpack, cast

from torch import Tensor, nn

from ..architectures import BertConfig
from ..architectures.checks import check_one_given
from ..architectures.tasks import (
    CAUSAL_LM,
    MASKED_LM,
    MULTIPLE_CHOICE,
    NEXT_SENTENCE,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
)
from ..errors import InputError
from .arguments import Flags, HeadInputs, LossInputs, take_loss_options
from .bert import BertModel, BertPreTrainedModel
from .generation import GenerationMixin
from .heads import CausalLMHead, Head, LabelHead, SpanHead
from .layers import activation
from .outputs import (
    CausalLMOutputWithCrossAttentions,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    NextSentencePredictorOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from .plain import apply_linear
from .values import require_tensor

__all__ = [
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertLMHeadModel",
]


class BertPredictionHeadTransform(nn.Module):
    """Linear layer, activation and normalisation before the vocabulary scores."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (..., hidden) to (..., hidden)."""
        return self.LayerNorm(self.activation(apply_linear(self.dense, hidden)))


class BertLMPredictionHead(nn.Module):
    """Scores for each entry of the vocabulary."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = self.decoder.bias  # checkpoints hold it under both names

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, S, hidden) to (B, S, vocab)."""
        return apply_linear(self.decoder, self.transform(hidden))


class BertOnlyMLMHead(nn.Module):
    """The predictions of masked or next tokens."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.predictions = BertLMPredictionHead(config)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, S, hidden) to (B, S, vocab)."""
        return self.predictions(hidden)


class BertOnlyNSPHead(nn.Module):
    """The scores of whether the second text follows the first."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.seq_relationship = nn.Linear(config.hidden_size, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (B, hidden) to (B, 2)."""
        return self.seq_relationship(pooled)


class _BertWithPredictions(BertPreTrainedModel):
    """A BERT with scores for each entry of the vocabulary."""

    output_embeddings = "cls.predictions.decoder"

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        with self._building():
            self.bert = BertModel(config, add_pooling_layer=False)
            self.cls = BertOnlyMLMHead(config)
            if config.tie_word_embeddings:
                self.cls.predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the layer that scores the vocabulary, and the bias that checkpoints hold under another name too."""
        super().set_output_embeddings(new_embeddings)
        self._share_bias()

    def _after_resizing(self, size: int) -> None:
        self._share_bias()

    def _share_bias(self) -> None:
        bias = getattr(self.cls.predictions.decoder, "bias", None)
        if isinstance(bias, nn.Parameter):
            self.cls.predictions.bias = bias


class BertForMaskedLM(_BertWithPredictions, LabelHead[BertConfig, MaskedLMOutput]):
    """Predicts masked tokens (section 3.1, "Masked LM"), `labels` (B, S); returns MaskedLMOutput."""

    task = MASKED_LM
    output_class = MaskedLMOutput

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self.cls(outputs.last_hidden_state)


class BertLMHeadModel(
    GenerationMixin, _BertWithPredictions, CausalLMHead[BertConfig, CausalLMOutputWithCrossAttentions]
):
    """Predicts each next token; returns CausalLMOutputWithCrossAttentions.

    Raises:
        InputError: `config.is_decoder` is off: an encoder would see the token that it is to predict.
    """

    task = CAUSAL_LM
    output_class = CausalLMOutputWithCrossAttentions

    def __init__(self, config: BertConfig) -> None:
        if not config.is_decoder:
            raise InputError("BertLMHeadModel needs config.is_decoder=True: an encoder sees the token it is to predict")
        super().__init__(config)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.cls(hidden)


class _NextSentenceInputs(HeadInputs, total=False):
    next_sentence_label: Tensor | None


class _ChoiceFlags(Flags, LossInputs, total=False):
    """Layers to return, and how the loss is computed."""


class BertForNextSentencePrediction(BertPreTrainedModel, Head[BertConfig, NextSentencePredictorOutput]):
    """Tells whether the second text follows the first (section 3.1); returns NextSentencePredictorOutput."""

    task = NEXT_SENTENCE
    output_class = NextSentencePredictorOutput

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        with self._building():
            self.bert = BertModel(config)
            self.cls = BertOnlyNSPHead(config)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[_NextSentenceInputs],
    ) -> NextSentencePredictorOutput:
        """Return logits (B, 2) and, with `labels` (B,), the loss: 0 where the second text follows, 1 where not.

        `next_sentence_label`, as the page calls it, is another name for `labels`.
        """
        next_sentence_label = inputs.pop("next_sentence_label", None)
        if labels is not None and next_sentence_label is not None:
            raise InputError("both labels and next_sentence_label were passed; they are one argument")
        labels = next_sentence_label if labels is None else labels
        options = take_loss_options(inputs, labels=labels)
        outputs = self._base_outputs(input_ids, attention_mask, **self._with_token_types(token_type_ids, inputs))
        logits = self.cls(outputs.pooler_output)
        loss = self._loss(logits, None if labels is None else labels.reshape(-1), options)
        return self._head_output(outputs, return_dict, loss=loss, logits=logits)


class _BertClassifier(BertPreTrainedModel):
    """A BERT with dropout and a linear layer on top."""

    def __init__(self, config: BertConfig, num_labels: int, *, pooling: bool) -> None:
        super().__init__(config)
        rate = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        with self._building():
            self.bert = BertModel(config, add_pooling_layer=pooling)
            self.dropout = nn.Dropout(rate)
            self.classifier = nn.Linear(config.hidden_size, num_labels)


class BertForSequenceClassification(_BertClassifier, LabelHead[BertConfig, SequenceClassifierOutput]):
    """Gives each row a class, several classes or a number; returns SequenceClassifierOutput.

    `sequence_classification_loss` chooses the loss.
    """

    task = SEQUENCE_CLASSIFICATION
    output_class = SequenceClassifierOutput

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, config.num_labels, pooling=True)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self.classifier(self.dropout(outputs.pooler_output))


class BertForTokenClassification(_BertClassifier, LabelHead[BertConfig, TokenClassifierOutput]):
    """Gives each token a class, `labels` (B, S); returns TokenClassifierOutput."""

    task = TOKEN_CLASSIFICATION
    output_class = TokenClassifierOutput

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, config.num_labels, pooling=False)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self.classifier(self.dropout(outputs.last_hidden_state))


class BertForMultipleChoice(_BertClassifier, Head[BertConfig, MultipleChoiceModelOutput]):
    """Chooses among alternatives; returns MultipleChoiceModelOutput. Inputs have a choices axis (B, C, S)."""

    task = MULTIPLE_CHOICE
    output_class = MultipleChoiceModelOutput

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, 1, pooling=True)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **flags: Unpack[_ChoiceFlags],
    ) -> MultipleChoiceModelOutput:
        """Return logits (B, C) and, with `labels` (B,), the loss. States and attentions have B x C rows.

        Raises:
            InputError: inputs without the choices axis.
        """
        options = take_loss_options(flags, labels=labels)
        batch, choices = _choices(input_ids, inputs_embeds)
        ids, mask, types, positions, embeds = (
            None if tensor is None else tensor.flatten(0, 1)
            for tensor in (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        )
        given = cast("dict[str, Any]", flags)
        outputs = self._base_outputs(ids, mask, types, position_ids=positions, inputs_embeds=embeds, **given)
        logits = self.classifier(self.dropout(outputs.pooler_output)).view(batch, choices)
        loss = self._loss(logits, labels, options)
        return self._head_output(outputs, return_dict, loss=loss, logits=logits)


def _choices(input_ids: Tensor | None, inputs_embeds: Tensor | None) -> tuple[int, int]:
    """Return rows and choices of the input."""
    check_one_given(input_ids is not None, inputs_embeds is not None)
    given, axes = (input_ids, "(batch, choices, seq)")
    if given is None:
        given, axes = (inputs_embeds, "(batch, choices, seq, hidden)")
    assert given is not None  # else refused above
    require_tensor(given, "the input of a multiple-choice model")
    if given.dim() != axes.count(",") + 1:
        raise InputError(f"the input of a multiple-choice model has shape {tuple(given.shape)}; expected {axes}")
    return given.shape[0], given.shape[1]


class BertForQuestionAnswering(BertPreTrainedModel, SpanHead[BertConfig, QuestionAnsweringModelOutput]):
    """Finds where an answer starts and ends (section 4.2); returns QuestionAnsweringModelOutput."""

    task = QUESTION_ANSWERING
    output_class = QuestionAnsweringModelOutput

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        if config.num_labels != 2:
            raise InputError(f"num_labels is {config.num_labels}; question answering has 2, start and end")
        with self._building():
            self.bert = BertModel(config, add_pooling_layer=False)
            self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self.qa_outputs(outputs.last_hidden_state)
