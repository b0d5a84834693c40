"""BART's decoder alone, as a language model. Arguments: see `modeloutputs.flax.calls`."""

from typing import Any

from flax import linen as nn
from jax import Array

from ..architectures import BartConfig
from ..architectures.bart import DECODER_WEIGHT_NAMES
from ..architectures.selection import LayerSelection
from .bart import FlaxBartDecoder, bart_layout
from .calls import Arrays, as_requested, state_at
from .libraries import jnp
from .outputs import FlaxCausalLMOutputWithCrossAttentions
from .pretrained import FlaxPreTrainedModel

__all__ = ["FlaxBartForCausalLM", "FlaxBartForCausalLMModule"]


class FlaxBartDecoderWrapper(nn.Module):
    """Holds the decoder under the name that it has in checkpoints."""

    config: BartConfig
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False

    def setup(self) -> None:
        """Make the decoder."""
        self.decoder = FlaxBartDecoder(self.config, self.dtype, self.gradient_checkpointing)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Return the decoder's states."""
        return self.decoder.run(*inputs, **options)


class FlaxBartForCausalLMModule(nn.Module):
    """See `FlaxBartForCausalLM`."""

    config: BartConfig
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False

    output_class = FlaxCausalLMOutputWithCrossAttentions

    def setup(self) -> None:
        """Make the modules."""
        config = self.config
        self.model = FlaxBartDecoderWrapper(config, self.dtype, self.gradient_checkpointing)
        if not config.tie_word_embeddings:
            self.lm_head = bart_layout(config, self.dtype).linear(config.vocab_size, bias=False)

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
        init_cache: bool = False,
        output_attentions: LayerSelection = False,
        output_hidden_states: LayerSelection = False,
        return_dict: bool = True,
        deterministic: bool = True,
    ) -> Any:
        """Return the scores (B, S, vocab)."""
        result = self.model(
            input_ids,
            attention_mask,
            position_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            init_cache=init_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            deterministic=deterministic,
        )
        logits = self.scores(result.last_hidden_state)
        return as_requested(result.as_output(self.output_class, logits=logits), return_dict)

    def scores(self, hidden: Array) -> Array:
        """Map (B, S, hidden) to (B, S, vocab)."""
        if self.config.tie_word_embeddings:
            return self.model.decoder.token_table.attend(hidden)
        head: Any = self.lm_head
        return head(hidden)

    def next_scores(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        place: Any = None,
        **encoder: Any,
    ) -> Array:
        """Return the scores (B, vocab) of the token after a place, the last one for None."""
        result = self.model(input_ids, attention_mask, position_ids, **encoder)
        return self.scores(state_at(result.last_hidden_state, place))[:, 0]


class FlaxBartForCausalLM(FlaxPreTrainedModel[BartConfig]):
    """The decoder alone as a language model; returns FlaxCausalLMOutputWithCrossAttentions."""

    config_class = BartConfig
    weight_names = DECODER_WEIGHT_NAMES
    base_model_prefix = "model"
    module_class = FlaxBartForCausalLMModule

    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        output_attentions: Any = None,
        output_hidden_states: Any = None,
        return_dict: bool | None = None,
        train: bool = False,
        params: Any = None,
        past_key_values: Any = None,
        dropout_rng: Any = None,
    ) -> Any:
        """Return the model's output; see `modeloutputs.flax.calls`."""
        arrays: Arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "encoder_hidden_states": encoder_hidden_states,
            "encoder_attention_mask": encoder_attention_mask,
        }
        flags = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self._call(arrays, params, dropout_rng, train, flags, return_dict, past_key_values)

    @property
    def _crosses(self) -> bool:
        return True

    def _dummy_inputs(self, input_shape: tuple[int, ...]) -> dict[str, Any]:
        states = jnp.zeros((input_shape[0], 1, self.config.d_model), self.dtype)
        return {"input_ids": jnp.zeros(input_shape, jnp.int32), "encoder_hidden_states": states}

    def _check(self, inputs: Arrays, room: int | None = None) -> None:
        self._check_tokens(inputs, self.config.decoder_attention_heads, room=room)
