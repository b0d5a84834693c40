"""BART's models: bare, and with heads. Arguments: see `modeloutputs.flax.calls` and `modeloutputs.flax.bart`."""

from typing import Any, ClassVar, cast

import numpy as np
from flax import linen as nn
from jax import Array

from ..architectures import BartConfig
from ..architectures.bart import WEIGHT_NAMES
from ..architectures.selection import LayerSelection
from ..errors import InputError
from ..output import ModelOutput
from .bart import FlaxBartModule, bart_layout, joined
from .calls import Arrays, as_requested, state_at
from .dropout import Dropout
from .inputs import has_values
from .layers import Layout
from .libraries import initializers, jax, jnp
from .outputs import (
    FlaxCausalLMOutputWithCrossAttentions,
    FlaxSeq2SeqLMOutput,
    FlaxSeq2SeqQuestionAnsweringModelOutput,
    FlaxSeq2SeqSequenceClassifierOutput,
)
from .pretrained import FlaxPreTrainedModel

__all__ = [
    "FlaxBartForConditionalGeneration",
    "FlaxBartForConditionalGenerationModule",
    "FlaxBartForQuestionAnswering",
    "FlaxBartForQuestionAnsweringModule",
    "FlaxBartForSequenceClassification",
    "FlaxBartForSequenceClassificationModule",
    "FlaxBartModel",
    "FlaxBartPreTrainedModel",
]


# -- modules ----------------------------------------------------------------------------------------------------------


class _BartHeadModule(nn.Module):
    """A BART with a head: a subclass adds its modules, and gives the fields of its output."""

    config: BartConfig
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False

    output_class: ClassVar[type[ModelOutput]]

    def setup(self) -> None:
        """Make the modules."""
        self.model = FlaxBartModule(self.config, self.dtype, self.gradient_checkpointing)
        self.add_head(bart_layout(self.config, self.dtype))

    def add_head(self, layout: Layout) -> None:
        """Make the head's modules."""
        raise NotImplementedError

    def fields(self, hidden: Array, input_ids: Array, deterministic: bool) -> dict[str, Array]:
        """Return the head's fields of the output for the decoder's states (B, S, hidden)."""
        raise NotImplementedError

    def encode(self, *inputs: Any, **options: Any) -> Any:
        """Return the encoder's output; see `FlaxBartModule.encode`."""
        return self.model.encode(*inputs, **options)

    def decode(self, *inputs: Any, **options: Any) -> Any:
        """Return the decoder's output; see `FlaxBartModule.decode`."""
        return self.model.decode(*inputs, **options)

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        decoder_input_ids: Array | None = None,
        decoder_attention_mask: Array | None = None,
        position_ids: Array | None = None,
        decoder_position_ids: Array | None = None,
        output_attentions: LayerSelection = False,
        output_hidden_states: LayerSelection = False,
        return_dict: bool = True,
        deterministic: bool = True,
        init_cache: bool = False,
    ) -> Any:
        """Return the output of the head's class."""
        decoded, encoded = self.model.run(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            position_ids,
            decoder_position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            deterministic=deterministic,
            init_cache=init_cache,
        )
        fields = self.fields(decoded.last_hidden_state, input_ids, deterministic)
        return as_requested(joined(self.output_class, decoded, encoded, fields), return_dict)


class FlaxBartForConditionalGenerationModule(_BartHeadModule):
    """See `FlaxBartForConditionalGeneration`."""

    output_class = FlaxSeq2SeqLMOutput

    def add_head(self, layout: Layout) -> None:
        """Make the scores; tied, their matrix is the embeddings'."""
        if not self.config.tie_word_embeddings:
            self.lm_head = layout.linear(self.config.vocab_size, bias=False)
        size = (1, self.config.vocab_size)
        self.final_logits_bias = cast("Any", self).param("final_logits_bias", initializers.zeros, size)

    def fields(self, hidden: Array, input_ids: Array, deterministic: bool) -> dict[str, Array]:
        """Return the scores (B, S, vocab)."""
        if self.config.tie_word_embeddings:
            logits = self.model.shared.attend(hidden)
        else:
            head: Any = self.lm_head
            logits = head(hidden)
        # No parameter to train: PyTorch's model has it as a buffer.
        bias = jax.lax.stop_gradient(jnp.asarray(self.final_logits_bias, logits.dtype))
        return {"logits": logits + bias}

    def decode(self, *inputs: Any, return_dict: bool = True, **options: Any) -> Any:
        """Return scores of the decoder's positions, a FlaxCausalLMOutputWithCrossAttentions."""
        result = self.model.run_decoder(*inputs, **options)
        fields = self.fields(result.last_hidden_state, inputs[0] if inputs else options["decoder_input_ids"], True)
        return as_requested(result.as_output(FlaxCausalLMOutputWithCrossAttentions, **fields), return_dict)

    def next_scores(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        place: Any = None,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
    ) -> Array:
        """Return the scores (B, vocab) of the decoder's token after a place, the last one for None."""
        result = self.model.run_decoder(
            input_ids, encoder_hidden_states, encoder_attention_mask, attention_mask, position_ids
        )
        return self.fields(state_at(result.last_hidden_state, place), input_ids, True)["logits"][:, 0]


class FlaxBartClassificationHead(nn.Module):
    """Linear layer, tanh and scores, with dropout before each layer."""

    config: BartConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Make the layers."""
        layout = bart_layout(self.config, self.dtype)
        self.dense, self.out_proj = layout.linear(self.config.d_model), layout.linear(self.config.num_labels)
        self.dropout = Dropout(self.config.classifier_dropout)

    def __call__(self, hidden: Array, deterministic: bool) -> Array:
        """Map (B, hidden) to (B, labels)."""
        dense: Any = self.dense
        out_proj: Any = self.out_proj
        inner = jnp.tanh(dense(self.dropout(hidden, deterministic=deterministic)))
        return out_proj(self.dropout(inner, deterministic=deterministic))


class FlaxBartForSequenceClassificationModule(_BartHeadModule):
    """See `FlaxBartForSequenceClassification`."""

    output_class = FlaxSeq2SeqSequenceClassifierOutput

    def add_head(self, layout: Layout) -> None:
        """Make the head."""
        self.classification_head = FlaxBartClassificationHead(self.config, self.dtype)

    def fields(self, hidden: Array, input_ids: Array, deterministic: bool) -> dict[str, Array]:
        """Return the scores (B, labels), read at each row's last end."""
        ended = jnp.equal(input_ids, self.config.eos_token_id)
        last = ended.shape[1] - 1 - jnp.argmax(ended[:, ::-1], -1)
        state = jnp.take_along_axis(hidden, last[:, None, None], 1)[:, 0]
        return {"logits": self.classification_head(state, deterministic)}


class FlaxBartForQuestionAnsweringModule(_BartHeadModule):
    """See `FlaxBartForQuestionAnswering`."""

    output_class = FlaxSeq2SeqQuestionAnsweringModelOutput

    def add_head(self, layout: Layout) -> None:
        """Make the scores of starts and ends."""
        self.qa_outputs = layout.linear(2)

    def fields(self, hidden: Array, input_ids: Array, deterministic: bool) -> dict[str, Array]:
        """Return the scores of starts and of ends, (B, S) each."""
        qa_outputs: Any = self.qa_outputs
        scores = qa_outputs(hidden)
        return {"start_logits": scores[..., 0], "end_logits": scores[..., 1]}


# -- models -----------------------------------------------------------------------------------------------------------


class FlaxBartPreTrainedModel(FlaxPreTrainedModel[BartConfig]):
    """Base of BART's encoder-decoders."""

    config_class = BartConfig
    weight_names = WEIGHT_NAMES
    base_model_prefix = "model"

    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        decoder_attention_mask: Any = None,
        position_ids: Any = None,
        decoder_position_ids: Any = None,
        output_attentions: Any = None,
        output_hidden_states: Any = None,
        return_dict: bool | None = None,
        train: bool = False,
        params: Any = None,
        dropout_rng: Any = None,
    ) -> Any:
        """Return the output; without `decoder_input_ids` the decoder is given `input_ids` moved to the right."""
        arrays: Arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": decoder_attention_mask,
            "position_ids": position_ids,
            "decoder_position_ids": decoder_position_ids,
        }
        flags = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self._call(arrays, params, dropout_rng, train, flags, return_dict)

    def encode(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        output_attentions: Any = None,
        output_hidden_states: Any = None,
        return_dict: bool | None = None,
        train: bool = False,
        params: Any = None,
        dropout_rng: Any = None,
    ) -> Any:
        """Return the encoder's output, a FlaxBaseModelOutput."""
        arrays: Arrays = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        flags = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self._call(arrays, params, dropout_rng, train, flags, return_dict, method="encode")

    def decode(
        self,
        decoder_input_ids: Any,
        encoder_outputs: Any,
        encoder_attention_mask: Any = None,
        decoder_attention_mask: Any = None,
        decoder_position_ids: Any = None,
        past_key_values: Any = None,
        output_attentions: Any = None,
        output_hidden_states: Any = None,
        return_dict: bool | None = None,
        train: bool = False,
        params: Any = None,
        dropout_rng: Any = None,
    ) -> Any:
        """Return the decoder's output: of a bare model FlaxBaseModelOutputWithPastAndCrossAttentions.

        Args:
            decoder_input_ids: (B, S).
            encoder_outputs: what `encode` returned, an output or a plain tuple. Once its keys are in a cache, they
                are read there.
            encoder_attention_mask: (B, E).
            decoder_attention_mask: (B, past + S).
            decoder_position_ids: (B, S).
            past_key_values: from `init_cache`, or the call before.
            output_attentions: see `modeloutputs.flax.calls`, like the others.
            output_hidden_states: layers.
            return_dict: return an output.
            train: apply dropout.
            params: the parameters.
            dropout_rng: a key.
        """
        arrays: Arrays = {
            "decoder_input_ids": decoder_input_ids,
            "encoder_hidden_states": _states_of(encoder_outputs),
            "encoder_attention_mask": encoder_attention_mask,
            "decoder_attention_mask": decoder_attention_mask,
            "decoder_position_ids": decoder_position_ids,
        }
        flags = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self._call(arrays, params, dropout_rng, train, flags, return_dict, past_key_values, method="decode")

    def init_cache(self, batch_size: int, max_length: int, encoder_outputs: Any = None) -> Any:
        """Return an empty cache with room for `max_length` positions of the decoder, to pass as `past_key_values`.

        Args:
            batch_size: rows.
            max_length: positions.
            encoder_outputs: accepted, and not needed: the encoder's keys come with the first call of `decode`.
        """
        return super().init_cache(batch_size, max_length)

    def _check(self, inputs: Arrays, room: int | None = None) -> None:
        heads = self.config.encoder_attention_heads
        if "input_ids" in inputs:
            self._check_tokens(inputs, heads)
        if "decoder_input_ids" in inputs:
            self._check_tokens(inputs, self.config.decoder_attention_heads, "decoder_", room)


def _states_of(encoder_outputs: Any) -> Any:
    """Return the states of an encoder's output, or of a tuple with them in front."""
    if hasattr(encoder_outputs, "shape") or not hasattr(encoder_outputs, "__getitem__"):
        raise InputError(f"encoder_outputs is a {type(encoder_outputs).__name__}; expected what encode returned")
    return encoder_outputs[0]


class FlaxBartModel(FlaxBartPreTrainedModel):
    """Encoder and decoder; returns FlaxSeq2SeqModelOutput."""

    module_class = FlaxBartModule


class FlaxBartForConditionalGeneration(FlaxBartPreTrainedModel):
    """Predicts each next token of the target; returns FlaxSeq2SeqLMOutput."""

    module_class = FlaxBartForConditionalGenerationModule
    is_encoder_decoder = True


class FlaxBartForSequenceClassification(FlaxBartPreTrainedModel):
    """Gives each row a class, read at its last `eos_token_id`; returns FlaxSeq2SeqSequenceClassifierOutput."""

    module_class = FlaxBartForSequenceClassificationModule

    def _check(self, inputs: Arrays, room: int | None = None) -> None:
        super()._check(inputs, room)
        end, ids, given = self.config.eos_token_id, inputs.get("input_ids"), inputs.get("decoder_input_ids")
        if ids is None:
            return
        if given is not None and given.shape != ids.shape:
            raise InputError(
                f"the decoder's input has shape {tuple(given.shape)}, and input_ids, which say where its class is "
                f"read, {tuple(ids.shape)}; leave it out, or pass as many positions"
            )
        if has_values(ids) and not (np.asarray(ids) == end).any(1).all():
            raise InputError(
                f"a row of input_ids has no eos_token_id ({end}), where its class is read; end rows with it"
            )


class FlaxBartForQuestionAnswering(FlaxBartPreTrainedModel):
    """Finds where an answer starts and ends; returns FlaxSeq2SeqQuestionAnsweringModelOutput."""

    module_class = FlaxBartForQuestionAnsweringModule
