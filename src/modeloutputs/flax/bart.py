"""BART (Lewis et al., 2020): an encoder, and a decoder that attends to it; as linen modules.

Of an encoder-decoder's arguments, those without prefix are the encoder's and those with `decoder_` the decoder's. Both
take positions from their masks.
"""

from typing import Any, cast

from flax import linen as nn
from jax import Array

from ..architectures import BartConfig
from ..architectures.bart import LAYER_PATHS, UNUSED_POSITIONS, decoder_settings, encoder_settings
from ..architectures.layers import LayerSettings
from ..architectures.selection import LayerSelection
from ..errors import InputError
from .calls import StackCall, as_requested
from .dropout import Dropout
from .layers import Layout
from .libraries import jnp
from .outputs import (
    FlaxBaseModelOutput,
    FlaxBaseModelOutputWithPastAndCrossAttentions,
    FlaxSeq2SeqModelOutput,
)
from .stack import Stack, StackResult

__all__ = ["FlaxBartDecoder", "FlaxBartEncoder", "FlaxBartModule", "bart_layout", "joined", "shift_tokens_right"]


def bart_layout(config: BartConfig, dtype: Any, settings: LayerSettings | None = None) -> Layout:
    """Return how BART's modules are made; those outside its layers, without `settings`."""
    return Layout(encoder_settings(config) if settings is None else settings, dtype, config.init_std)


def shift_tokens_right(input_ids: Any, pad_token_id: int | None, decoder_start_token_id: int | None) -> Any:
    """Return the decoder's input for predicting `input_ids` (B, S): the start token, then all of them but the last.

    Labels of -100 become padding. NumPy arrays give a NumPy array.

    Raises:
        InputError: one of the tokens is None, or `input_ids` is no array of two axes.

    Examples:
        >>> import numpy as np
        >>> shift_tokens_right(np.array([[5, 6, -100]]), 1, 2).tolist()
        [[2, 5, 6]]
    """
    if pad_token_id is None or decoder_start_token_id is None:
        raise InputError("decoder_start_token_id or pad_token_id is not configured; pass decoder_input_ids")
    import numpy as np

    if getattr(input_ids, "ndim", None) != 2:
        raise InputError(f"input_ids is a {type(input_ids).__name__}; expected an array (batch, seq)")
    library: Any = np if isinstance(input_ids, np.ndarray) else jnp
    start = library.full_like(input_ids[:, :1], decoder_start_token_id)
    shifted = library.concatenate([start, input_ids[:, :-1]], 1)
    return library.where(shifted == -100, pad_token_id, shifted)


class _BartStack(nn.Module):
    """The common part of encoder and decoder: embeddings, normalised, and layers."""

    config: BartConfig
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False
    shared: nn.Embed | None = None
    """The table of token embeddings, where it is another module's."""

    def setup(self) -> None:
        """Make the modules."""
        config, settings = self.config, self.settings()
        layout = bart_layout(config, self.dtype, settings)
        if self.shared is None:
            self.embed_tokens = layout.embedding(config.vocab_size)
        self.embed_positions = layout.embedding(config.max_position_embeddings + UNUSED_POSITIONS)
        self.layers = Stack(layout, LAYER_PATHS, self.count(), remat=self.gradient_checkpointing)
        self.layernorm_embedding = layout.norm()
        self.dropout = Dropout(config.dropout)

    def settings(self) -> LayerSettings:
        """Return the settings of the layers."""
        raise NotImplementedError

    def count(self) -> int:
        """Return the number of layers."""
        raise NotImplementedError

    @property
    def token_table(self) -> nn.Embed:
        """The table of token embeddings."""
        return self.embed_tokens if self.shared is None else self.shared

    def run(
        self, input_ids: Array, attention_mask: Array | None, position_ids: Array | None, **options: Any
    ) -> StackResult:
        """Return the states of all positions; options are those of `StackCall.of`."""
        call = StackCall.of(self, input_ids, attention_mask, position_ids, layers=self.count(), **options)
        hidden = cast("Any", self.token_table(input_ids))
        if self.config.scale_embedding:
            hidden = hidden * jnp.asarray(self.config.d_model**0.5, hidden.dtype)
        norm: Any = self.layernorm_embedding
        hidden = norm(hidden + self.embed_positions(call.positions + UNUSED_POSITIONS))
        hidden = cast("Any", self.dropout)(hidden, deterministic=call.flags.deterministic)
        return self.layers(hidden, call.context, call.flags, call.kept)


class FlaxBartEncoder(_BartStack):
    """The encoder."""

    def settings(self) -> LayerSettings:
        """Return the settings of the encoder's layers."""
        return encoder_settings(self.config)

    def count(self) -> int:
        """Return the number of the encoder's layers."""
        return self.config.encoder_layers


class FlaxBartDecoder(_BartStack):
    """The decoder."""

    def settings(self) -> LayerSettings:
        """Return the settings of the decoder's layers."""
        return decoder_settings(self.config)

    def count(self) -> int:
        """Return the number of the decoder's layers."""
        return self.config.decoder_layers


class FlaxBartModule(nn.Module):
    """Encoder and decoder, as a linen module; see `FlaxBartModel`."""

    config: BartConfig
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False

    def setup(self) -> None:
        """Make the modules."""
        config, options = self.config, (self.dtype, self.gradient_checkpointing)
        # Untied, encoder and decoder have tables of their own.
        shared = bart_layout(config, self.dtype).embedding(config.vocab_size) if config.tie_word_embeddings else None
        if shared is not None:
            self.shared = shared
        self.encoder = FlaxBartEncoder(config, *options, shared)
        self.decoder = FlaxBartDecoder(config, *options, shared)

    def encode(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        deterministic: bool = True,
        output_attentions: LayerSelection = False,
        output_hidden_states: LayerSelection = False,
        return_dict: bool = True,
    ) -> Any:
        """Return the encoder's output, a FlaxBaseModelOutput."""
        result = self.encoder.run(
            input_ids,
            attention_mask,
            position_ids,
            deterministic=deterministic,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return as_requested(result.as_output(FlaxBaseModelOutput), return_dict)

    def run_decoder(
        self,
        decoder_input_ids: Array,
        encoder_hidden_states: Array | None,
        encoder_attention_mask: Array | None = None,
        decoder_attention_mask: Array | None = None,
        decoder_position_ids: Array | None = None,
        **options: Any,
    ) -> StackResult:
        """Return the states of the decoder's positions; options are those of `StackCall.of`."""
        return self.decoder.run(
            decoder_input_ids,
            decoder_attention_mask,
            decoder_position_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            **options,
        )

    def decode(
        self,
        decoder_input_ids: Array,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
        decoder_attention_mask: Array | None = None,
        decoder_position_ids: Array | None = None,
        return_dict: bool = True,
        **options: Any,
    ) -> Any:
        """Return the decoder's output, a FlaxBaseModelOutputWithPastAndCrossAttentions."""
        result = self.run_decoder(
            decoder_input_ids,
            encoder_hidden_states,
            encoder_attention_mask,
            decoder_attention_mask,
            decoder_position_ids,
            **options,
        )
        return as_requested(result.as_output(FlaxBaseModelOutputWithPastAndCrossAttentions), return_dict)

    def run(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        decoder_input_ids: Array | None = None,
        decoder_attention_mask: Array | None = None,
        position_ids: Array | None = None,
        decoder_position_ids: Array | None = None,
        **options: Any,
    ) -> tuple[StackResult, FlaxBaseModelOutput]:
        """Return the decoder's states, and the encoder's output."""
        if decoder_input_ids is None:
            decoder_input_ids, decoder_attention_mask = self._denoising_input(
                input_ids, attention_mask, decoder_attention_mask
            )
        flags = {name: value for name, value in options.items() if name != "init_cache"}
        encoded = self.encode(input_ids, attention_mask, position_ids, **flags)
        decoded = self.run_decoder(
            decoder_input_ids,
            encoded.last_hidden_state,
            attention_mask,
            decoder_attention_mask,
            decoder_position_ids,
            **options,
        )
        return decoded, encoded

    def _denoising_input(
        self, input_ids: Array, mask: Array | None, decoder_mask: Array | None
    ) -> tuple[Array, Array | None]:
        """Return the tokens moved one to the right, each row's start token in place of its first token, and a mask."""
        config = self.config
        shifted = shift_tokens_right(input_ids, config.pad_token_id, config.decoder_start_token_id)
        if mask is None or mask.shape != input_ids.shape:
            return shifted, decoder_mask
        begun = jnp.cumsum(mask != 0, -1) > 0
        first = begun & (jnp.cumsum(begun, -1) == 1)
        # Nothing depends on padding behind tokens, so only that before them is hidden.
        return jnp.where(first, config.decoder_start_token_id, shifted), begun if decoder_mask is None else decoder_mask

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
        """Return the states of the decoder's positions, and the encoder's."""
        decoded, encoded = self.run(
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
        fields = {"last_hidden_state": decoded.last_hidden_state}
        return as_requested(joined(FlaxSeq2SeqModelOutput, decoded, encoded, fields), return_dict)


def joined(kind: Any, decoded: StackResult, encoded: FlaxBaseModelOutput | None, fields: dict[str, Any]) -> Any:
    """Return an encoder-decoder's output of a class: its own fields, the decoder's states and the encoder's."""
    values: dict[str, Any] = {
        **fields,
        "decoder_hidden_states": decoded.hidden_states,
        "decoder_attentions": decoded.attentions,
        "cross_attentions": decoded.cross_attentions,
    }
    if encoded is not None:
        values |= {f"encoder_{name}": value for name, value in encoded.items()}
    return kind(**values)
