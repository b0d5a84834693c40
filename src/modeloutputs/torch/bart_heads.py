"""BART's heads: translation and summarisation, classification, question answering, and its decoder as language model.

What they are called with is explained in `modeloutputs.torch.arguments` and at `BartModel`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from ..architectures import BartConfig
from ..errors import InputError
from ..generation.settings import GenerationSettings
from .arguments import Flags
from .bart import BartDecoder, BartModel, BartPreTrainedModel, EncoderOutputs, as_output, shift_right
from .cache import PastKeyValues
from .inputs import check_ids, last_position, rows_at
from .language import CausalLanguageModel, LanguageModel, kept_positions
from .layers import Linear
from .losses import NumItems, cross_entropy, question_answering_loss, sequence_classification_loss
from .outputs import (
    CausalLMOutputWithCrossAttentions,
    Seq2SeqLMOutput,
    Seq2SeqQuestionAnsweringModelOutput,
    Seq2SeqSequenceClassifierOutput,
)
from .pretrained import ModelWithHead
from .values import are_at_hand

__all__ = [
    "BartForCausalLM",
    "BartForConditionalGeneration",
    "BartForQuestionAnswering",
    "BartForSequenceClassification",
]


class Seq2SeqInputs(Flags, total=False):
    """Inputs beside ids and masks; see BartModel."""

    encoder_outputs: EncoderOutputs | None
    past_key_values: PastKeyValues | None
    inputs_embeds: Tensor | None
    decoder_inputs_embeds: Tensor | None
    position_ids: Tensor | None
    decoder_position_ids: Tensor | None
    use_cache: bool | None


class BartForConditionalGeneration(LanguageModel[BartConfig], BartPreTrainedModel):
    """Predicts each next token of the target; returns Seq2SeqLMOutput."""

    ignored_weights = r"(?!)"

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.model = BartModel(config)
        self._add_head(config.d_model, config.vocab_size)
        self.final_logits_bias = nn.Parameter(torch.zeros(1, config.vocab_size), requires_grad=False)
        self._initialise()

    def _logits(self, hidden: Tensor) -> Tensor:
        return super()._logits(hidden) + self.final_logits_bias

    def prepare_prompt(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        inputs: dict[str, Any],
        settings: GenerationSettings,
    ) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        """Return the decoder's prompt, a start token where none was passed, and the encoder's states."""
        encoded, start = inputs.get("encoder_outputs"), inputs.get("decoder_input_ids")
        length = 1 if start is None or start.dim() != 2 else start.shape[1]
        self.generation_limits.max_new_tokens(settings, length)  # refused before the encoder runs
        if encoded is None:
            flags = {name: getattr(settings, name) for name in ("output_hidden_states", "output_attentions")}
            encoded = self.model.encoder(input_ids, attention_mask, return_dict=True, **flags)
        encoded = as_output(encoded)
        rows = encoded.last_hidden_state.shape[0]
        if start is None:
            start = torch.full((rows, 1), self._start_token(), device=self.device)
        if start.dim() == 2 and start.shape[0] != rows:
            raise InputError(f"decoder_input_ids has {start.shape[0]} rows, the encoder's states {rows}; pass as many")
        given = {"encoder_outputs": encoded, "attention_mask": attention_mask}
        return start, None, {name: value for name, value in given.items() if value is not None}

    def _start_token(self) -> int:
        limits = self.generation_limits
        tokens = limits.token_ids("decoder_start_token_id") or limits.token_ids("bos_token_id")
        if not tokens:
            raise InputError("decoder_start_token_id is not configured; pass decoder_input_ids")
        return tokens[0]

    def call_decoder(self, tokens: Tensor, mask: Tensor | None, inputs: Mapping[str, Any], **options: Any) -> Any:
        """Call the model on the target's tokens, for the logits of the token after them."""
        named = {"decoder_input_ids": tokens, "decoder_attention_mask": mask, **inputs, **options}
        return self(logits_to_keep=1, return_dict=True, **named)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **inputs: Any,
    ) -> Seq2SeqLMOutput:
        """Return logits (B, S, vocab) and, with `labels` (B, S), the loss.

        Labels are the target itself: position i of the logits is held against position i of the labels. Where the
        decoder is given nothing else, it is given the labels moved one to the right. With labels, `use_cache` is off
        unless passed.
        """
        if labels is not None:
            use_cache = False if use_cache is None else use_cache
            if decoder_input_ids is None and inputs.get("decoder_inputs_embeds") is None:
                decoder_input_ids = shift_right(labels, self.config)
        outputs = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            use_cache=use_cache,
            return_dict=True,
            **inputs,
        )
        logits = self._logits(kept_positions(outputs.last_hidden_state, logits_to_keep, labels))
        loss = None
        if labels is not None:
            loss = cross_entropy(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(Seq2SeqLMOutput, outputs, return_dict, loss=loss, logits=logits)


class BartClassificationHead(nn.Module):
    """Dense, tanh and scores, with dropout before each."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.dense = Linear(config.d_model, config.d_model)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = Linear(config.d_model, config.num_labels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, hidden) to (B, labels)."""
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(hidden)))))


class BartForSequenceClassification(ModelWithHead[BartConfig], BartPreTrainedModel):
    """Gives each row a class from the decoder's state at its end (section 3.1); Seq2SeqSequenceClassifierOutput.

    The end is a row's last `eos_token_id`, which the tokenizer puts there.
    """

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.model = BartModel(config)
        self.classification_head = BartClassificationHead(config)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Seq2SeqInputs],
    ) -> Seq2SeqSequenceClassifierOutput:
        """Return logits (B, labels) and, with `labels`, the loss that `sequence_classification_loss` chooses.

        Raises:
            InputError: no `input_ids`, a row of them without an end, or a decoder's input of another length.
        """
        end = self._ends(input_ids)
        given = decoder_input_ids if decoder_input_ids is not None else inputs.get("decoder_inputs_embeds")
        if given is not None and input_ids is not None and given.shape[:2] != input_ids.shape:
            raise InputError(
                f"the decoder's input has shape {tuple(given.shape)}, and input_ids, which say where its class is "
                f"read, {tuple(input_ids.shape)}; leave it out, or pass as many positions"
            )
        if labels is not None and inputs.get("use_cache") is None:
            inputs["use_cache"] = False  # training has no use for a cache
        outputs = self.model(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, return_dict=True, **inputs
        )
        logits = self.classification_head(rows_at(outputs.last_hidden_state, end))
        loss = None
        if labels is not None:
            problem_type = self.config.problem_type
            loss = sequence_classification_loss(
                logits, labels, problem_type, num_items=num_items, label_smoothing=label_smoothing
            )
        return self._finish(Seq2SeqSequenceClassifierOutput, outputs, return_dict, loss=loss, logits=logits)

    def _ends(self, input_ids: Tensor | None) -> Tensor | None:
        end = self.config.eos_token_id
        if input_ids is None or not isinstance(end, int):
            raise InputError("the class is read at a row's eos_token_id; pass input_ids, and configure one such token")
        check_ids(input_ids, self.config.vocab_size, "input_ids")
        ended = input_ids == end
        if are_at_hand(ended) and not bool(ended.any(1).all()):
            raise InputError(
                f"a row of input_ids has no eos_token_id ({end}), where its class is read; end rows with it"
            )
        return last_position(None, ended, None)


class BartForQuestionAnswering(ModelWithHead[BartConfig], BartPreTrainedModel):
    """Finds where an answer starts and ends; returns Seq2SeqQuestionAnsweringModelOutput.

    `num_labels`, of which BART's configurations have 3, says nothing here: there are 2, start and end.
    """

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.model = BartModel(config)
        self.qa_outputs = Linear(config.d_model, 2)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Seq2SeqInputs],
    ) -> Seq2SeqQuestionAnsweringModelOutput:
        """Return start and end logits (B, S) and, with both positions (B,), the loss.

        Raises:
            InputError: one of the positions without the other.
        """
        if (start_positions is None) != (end_positions is None):
            raise InputError("only one of start_positions and end_positions was passed; the loss needs both")
        if start_positions is not None and inputs.get("use_cache") is None:
            inputs["use_cache"] = False  # training has no use for a cache
        outputs = self.model(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, return_dict=True, **inputs
        )
        start, end = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = question_answering_loss(
                start, end, start_positions, end_positions, num_items=num_items, label_smoothing=label_smoothing
            )
        logits = {"start_logits": start, "end_logits": end}
        return self._finish(Seq2SeqQuestionAnsweringModelOutput, outputs, return_dict, loss=loss, **logits)


class DecoderOnly(nn.Module):
    """Holds the decoder under the name that it has in checkpoints."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.decoder = BartDecoder(config)


class BartForCausalLM(CausalLanguageModel[BartConfig, CausalLMOutputWithCrossAttentions], BartPreTrainedModel):
    """The decoder alone as a language model; returns CausalLMOutputWithCrossAttentions."""

    output_class = CausalLMOutputWithCrossAttentions
    ignored_weights = r"final_logits_bias$|^(model\.)?(encoder\.|shared\.)"
    tied_weights: ClassVar[Mapping[str, str]] = {"lm_head.weight": "model.decoder.embed_tokens.weight"}

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.model = DecoderOnly(config)
        self._add_head(config.d_model, config.vocab_size)
        self._initialise()

    @property
    def base_model(self) -> BartDecoder:
        """The decoder."""
        return self.model.decoder
