"""BART's heads: translation and summarisation, classification, question answering, and its decoder as language model.

Arguments are explained in `modeloutputs.torch.arguments` and at `BartModel`.
"""

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from ..architectures import BartConfig
from ..architectures.bart import DECODER_WEIGHT_NAMES
from ..architectures.tasks import CAUSAL_LM, QUESTION_ANSWERING, SEQ2SEQ_LM, SEQUENCE_CLASSIFICATION
from ..errors import InputError
from ..generation.prompt import chosen_tokens
from ..generation.settings import GenerationSettings
from .arguments import Seq2SeqHeadInputs, take_loss_options
from .bart import BartDecoder, BartModel, BartPreTrainedModel, as_output, shift_right
from .cache import cross_length
from .generation import GenerationMixin
from .heads import CausalLMHead, Head, LanguageModelHead, Seq2SeqSpanHead, cache_with_labels, kept_positions
from .inputs import check_ids, last_position, rows_at
from .outputs import (
    BaseModelOutput,
    CausalLMOutputWithCrossAttentions,
    Seq2SeqLMOutput,
    Seq2SeqQuestionAnsweringModelOutput,
    Seq2SeqSequenceClassifierOutput,
)
from .pretrained import call_inner
from .prompts import PromptTensors, bos_prompt, mask_from_pads, start_token
from .values import values_on_cpu

__all__ = [
    "BartForCausalLM",
    "BartForConditionalGeneration",
    "BartForQuestionAnswering",
    "BartForSequenceClassification",
]


class BartForConditionalGeneration(
    GenerationMixin, BartPreTrainedModel, LanguageModelHead[BartConfig, Seq2SeqLMOutput]
):
    """Predicts each next token of the target; returns Seq2SeqLMOutput."""

    task = SEQ2SEQ_LM
    output_class = Seq2SeqLMOutput
    is_encoder_decoder = True

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        with self._building():
            self.model = BartModel(config)
            self._add_lm_head(config.d_model, config.vocab_size)
            self.register_buffer("final_logits_bias", torch.zeros(1, config.vocab_size))

    final_logits_bias: Tensor

    def _after_resizing(self, size: int) -> None:
        bias = self.final_logits_bias
        self.final_logits_bias = torch.cat([bias[:, :size], bias.new_zeros(1, max(size - bias.shape[1], 0))], 1)

    def tie_weights(self) -> None:
        """Give both halves, and the layer that scores the vocabulary, the shared table again, where it is tied."""
        self.model.tie_weights()
        super().tie_weights()

    def _logits(self, hidden: Tensor) -> Tensor:
        return super()._logits(hidden) + self.final_logits_bias

    def prepare_prompt(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        inputs: dict[str, Any],
        settings: GenerationSettings,
    ) -> PromptTensors:
        """Return the decoder's prompt, a start token where none was passed, and the encoder's states."""
        start, limits = inputs.get("decoder_input_ids"), self.generation_limits
        length = 1 if start is None or start.dim() != 2 else start.shape[1]
        limits.max_new_tokens(settings, length)  # refused before the encoder runs
        if attention_mask is None and input_ids is not None:
            attention_mask = mask_from_pads(input_ids, settings, limits)
        encoded, rows = self._encoded(input_ids, attention_mask, inputs, settings)
        first = None
        if start is None:
            first = start_token(settings, limits)
            device = self.device if encoded is None else encoded.last_hidden_state.device
            start = torch.full((rows, 1), first, device=device)
        if start.dim() == 2 and start.shape[0] != rows:
            raise InputError(f"decoder_input_ids has {start.shape[0]} rows, the encoder's states {rows}; pass as many")
        if first is None:
            first = (chosen_tokens("decoder_start_token_id", settings, limits) or [None])[0]
        given = {"encoder_outputs": encoded, "attention_mask": attention_mask}
        given["past_key_values"] = inputs.get("past_key_values")
        source = torch.empty(rows, 0) if input_ids is None else input_ids
        if input_ids is not None and attention_mask is not None:
            source = input_ids.masked_fill(attention_mask == 0, -1)
        return PromptTensors(
            start,
            inputs.get("decoder_attention_mask"),
            {name: value for name, value in given.items() if value is not None},
            first,
            source,
        )

    def _encoded(
        self, input_ids: Tensor | None, mask: Tensor | None, inputs: dict[str, Any], settings: GenerationSettings
    ) -> tuple[BaseModelOutput | None, int]:
        """Return the encoder's states, passed or computed, and their rows; None where a cache holds what is needed."""
        encoded, embeds, past = (inputs.get(name) for name in ("encoder_outputs", "inputs_embeds", "past_key_values"))
        if encoded is None and input_ids is None and embeds is None:
            if past is not None and cross_length(past) is not None:
                return None, past[0][0].shape[0]
            input_ids = bos_prompt(1, settings, self)
        if encoded is None:
            flags = {name: getattr(settings, name) for name in ("output_hidden_states", "output_attentions")}
            encoded = call_inner(self.model.encoder, input_ids, mask, inputs_embeds=embeds, **flags)
        encoded = as_output(encoded)
        return encoded, encoded.last_hidden_state.shape[0]

    def call_decoder(
        self, tokens: Tensor | None, mask: Tensor | None, inputs: Mapping[str, Any], **options: Any
    ) -> Any:
        """Call the model on the target's tokens, for the logits of the token after them."""
        named = {"decoder_input_ids": tokens, "decoder_attention_mask": mask, **inputs, **options}
        return call_inner(self, logits_to_keep=1, **named)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[Seq2SeqHeadInputs],
    ) -> Seq2SeqLMOutput:
        """Return logits (B, S, vocab) and, with `labels` (B, S), the loss.

        Labels are the target itself: position i of the logits is held against position i of the labels. Where the
        decoder is given nothing else, it is given the labels moved one to the right. With labels, `use_cache` is off
        unless passed.
        """
        options = take_loss_options(inputs, labels=labels)
        if labels is not None and decoder_input_ids is None and inputs.get("decoder_inputs_embeds") is None:
            decoder_input_ids = shift_right(labels, self.config)
        outputs = self._base_outputs(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            use_cache=cache_with_labels(use_cache, labels),
            **inputs,
        )
        logits = self._logits(kept_positions(outputs.last_hidden_state, logits_to_keep, labels))
        loss = self._loss(logits, labels, options)
        return self._head_output(outputs, return_dict, loss=loss, logits=logits)


class BartClassificationHead(nn.Module):
    """Linear layer, tanh and scores, with dropout before each layer."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.d_model, config.num_labels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, hidden) to (B, labels)."""
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(hidden)))))


class BartForSequenceClassification(BartPreTrainedModel, Head[BartConfig, Seq2SeqSequenceClassifierOutput]):
    """Gives each row a class from the decoder's state at its end (section 3.1); Seq2SeqSequenceClassifierOutput.

    The end is a row's last `eos_token_id`, which the tokenizer puts there.
    """

    task = SEQUENCE_CLASSIFICATION
    output_class = Seq2SeqSequenceClassifierOutput

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        with self._building():
            self.model = BartModel(config)
            self.classification_head = BartClassificationHead(config)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[Seq2SeqHeadInputs],
    ) -> Seq2SeqSequenceClassifierOutput:
        """Return logits (B, labels) and, with `labels`, the loss that `sequence_classification_loss` chooses.

        Raises:
            InputError: no `input_ids`, a row of them without an end, or a decoder's input of another length.
        """
        options = take_loss_options(inputs, labels=labels)
        end = self._ends(input_ids)
        given = decoder_input_ids if decoder_input_ids is not None else inputs.get("decoder_inputs_embeds")
        if given is not None and input_ids is not None and given.shape[:2] != input_ids.shape:
            raise InputError(
                f"the decoder's input has shape {tuple(given.shape)}, and input_ids, which say where its class is "
                f"read, {tuple(input_ids.shape)}; leave it out, or pass as many positions"
            )
        outputs = self._base_outputs(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            use_cache=cache_with_labels(use_cache, labels),
            **inputs,
        )
        logits = self.classification_head(rows_at(outputs.last_hidden_state, end))
        loss = self._loss(logits, labels, options)
        return self._head_output(outputs, return_dict, loss=loss, logits=logits)

    def _ends(self, input_ids: Tensor | None) -> Tensor | None:
        end = self.config.eos_token_id
        if input_ids is None or not isinstance(end, int):
            raise InputError("the class is read at a row's eos_token_id; pass input_ids, and configure one such token")
        check_ids(input_ids, self.config.vocab_size, "input_ids")
        ended = input_ids == end
        if values_on_cpu(ended) and not bool(ended.any(1).all()):
            raise InputError(
                f"a row of input_ids has no eos_token_id ({end}), where its class is read; end rows with it"
            )
        return last_position(None, ended, None)


class BartForQuestionAnswering(BartPreTrainedModel, Seq2SeqSpanHead[BartConfig, Seq2SeqQuestionAnsweringModelOutput]):
    """Finds where an answer starts and ends; returns Seq2SeqQuestionAnsweringModelOutput.

    `num_labels`, 3 in BART's configurations, is not used: there are 2, start and end.
    """

    task = QUESTION_ANSWERING
    output_class = Seq2SeqQuestionAnsweringModelOutput

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        with self._building():
            self.model = BartModel(config)
            self.qa_outputs = nn.Linear(config.d_model, 2)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self.qa_outputs(outputs.last_hidden_state)


class BartDecoderWrapper(nn.Module):
    """Holds the decoder under the name that it has in checkpoints."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.decoder = BartDecoder(config)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Call the decoder."""
        return self.decoder(*inputs, **options)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table of token embeddings."""
        self.decoder.set_input_embeddings(value)

    def _token_tables(self) -> list[nn.Embedding]:
        return [self.get_input_embeddings()]


class BartForCausalLM(
    GenerationMixin, BartPreTrainedModel, CausalLMHead[BartConfig, CausalLMOutputWithCrossAttentions]
):
    """The decoder alone as a language model; returns CausalLMOutputWithCrossAttentions."""

    task = CAUSAL_LM
    output_class = CausalLMOutputWithCrossAttentions
    weight_names = DECODER_WEIGHT_NAMES

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        with self._building():
            self.model = BartDecoderWrapper(config)
            self._add_lm_head(config.d_model, config.vocab_size)
