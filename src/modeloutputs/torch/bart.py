"""BART (Lewis et al., 2020): an encoder, and a decoder that attends to it.

What they are called with is explained in `modeloutputs.torch.arguments`. Of an encoder-decoder's arguments, those
without prefix are the encoder's and those with `decoder_` the decoder's. Both take positions from their masks.
"""

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from ..architectures import BartConfig
from ..errors import InputError
from ..output import ModelOutput
from .cache import PastKeyValues, cross_length
from .inputs import check_position_ids, check_tokens, first_position, positions_from_mask
from .layers import Embedding, LayerNorm, LayerSelection, PositionEmbedding
from .outputs import (
    BaseModelOutput,
    BaseModelOutputWithCrossAttentions,
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqModelOutput,
)
from .pretrained import PreTrainedModel
from .stack import LayerSettings, Stack, StackResult
from .weights import Rename

__all__ = [
    "BartDecoder",
    "BartEncoder",
    "BartModel",
    "BartPreTrainedModel",
    "EncoderOutputs",
    "as_output",
    "shift_right",
]

EncoderOutputs = BaseModelOutput | tuple[Any, ...]
"""What the encoder returned, as an output or a plain tuple."""

UNUSED_POSITIONS = 2
"""Rows at the head of a position table that stand for no position."""


class BartPreTrainedModel(PreTrainedModel[BartConfig]):
    """Base of BART models: how checkpoints spell their weights."""

    config_class = BartConfig
    base_model_prefix = "model"
    renames: ClassVar[tuple[Rename, ...]] = (
        Rename("attention.qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Rename("attention.output", ("self_attn.out_proj",)),
        Rename("attention_norm", ("self_attn_layer_norm",)),
        Rename("cross_attention.query", ("encoder_attn.q_proj",)),
        Rename("cross_attention.key_value", ("encoder_attn.k_proj", "encoder_attn.v_proj")),
        Rename("cross_attention.output", ("encoder_attn.out_proj",)),
        Rename("cross_attention_norm", ("encoder_attn_layer_norm",)),
        Rename("feed_forward.up", ("fc1",)),
        Rename("feed_forward.down", ("fc2",)),
        Rename("feed_forward_norm", ("final_layer_norm",)),
        Rename("shared", ("shared",), fallback=("decoder.embed_tokens",)),
        Rename("encoder.embed_tokens", ("encoder.embed_tokens",), fallback=("shared",)),
        Rename("decoder.embed_tokens", ("decoder.embed_tokens",), fallback=("shared",)),
    )
    ignored_weights = r"final_logits_bias$"
    neutral_weights = r"final_logits_bias$"
    tied_weights: ClassVar[Mapping[str, str]] = {
        f"{prefix}{name}.weight": f"{prefix}shared.weight"
        for prefix in ("model.", "")
        for name in ("encoder.embed_tokens", "decoder.embed_tokens")
    } | {"lm_head.weight": "model.shared.weight"}


class _BartStack(BartPreTrainedModel):
    """What encoder and decoder have in common: embeddings, normalised, and layers."""

    part: ClassVar[str]

    def __init__(self, config: BartConfig, settings: LayerSettings, layers: int, shared: Embedding | None) -> None:
        super().__init__(config)
        # Within BartModel the embeddings are its own, and no weights of this module.
        self._shared: tuple[Embedding, ...] = () if shared is None else (shared,)
        if shared is None:
            self.embed_tokens = _token_embeddings(config)
        self.embed_positions = PositionEmbedding(config.max_position_embeddings, config.d_model, UNUSED_POSITIONS)
        self.layernorm_embedding = LayerNorm(config.d_model, settings.norm_eps)
        self.layers = Stack(settings, layers)
        self.dropout = nn.Dropout(config.dropout)
        self._initialise()

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **options: Any) -> Self:
        """Load this part of a whole model, or what was saved of it alone; options are those of BartModel."""
        config = BartConfig.from_pretrained(name_or_path, revision=options.get("revision"))
        if config.other.get("architectures") == [cls.__name__]:
            return super().from_pretrained(name_or_path, **options)
        return getattr(BartModel.from_pretrained(name_or_path, **options), cls.part)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self._shared[0] if self._shared else self.embed_tokens

    def run(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        prefix: str = "",
        **given: Any,
    ) -> StackResult:
        """Check what was given, embed the tokens and run the layers; `prefix` is that of the caller's arguments."""
        config = self.config
        rows, length = check_tokens(input_ids, inputs_embeds, config.vocab_size, config.d_model, prefix)
        check_position_ids(position_ids, config.max_position_embeddings, rows, length)
        checked = self._given(attention_mask=attention_mask, **given)
        call = self.layers.check(checked, rows, length, config.max_position_embeddings)
        positions = positions_from_mask(attention_mask, length) if position_ids is None else position_ids
        hidden = inputs_embeds
        if hidden is None:
            hidden = self.get_input_embeddings()(input_ids)
            hidden = hidden * config.d_model**0.5 if config.scale_embedding else hidden
        hidden = self.layernorm_embedding(hidden + self.embed_positions(positions, call.past, length))
        return self.layers(self.dropout(hidden), call)


def _token_embeddings(config: BartConfig) -> Embedding:
    return Embedding(config.vocab_size, config.d_model, padding_idx=config.pad_token_id)


def _settings(config: BartConfig, heads: int, intermediate_size: int, *, decodes: bool) -> LayerSettings:
    return LayerSettings(
        hidden_size=config.d_model,
        heads=heads,
        intermediate_size=intermediate_size,
        activation=config.hidden_act,
        norm_eps=1e-5,
        causal=decodes,
        cross_attention=decodes,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        activation_dropout=config.activation_dropout,
    )


class BartEncoder(_BartStack):
    """The encoder alone; returns BaseModelOutput."""

    part = "encoder"

    def __init__(self, config: BartConfig, shared: Embedding | None = None) -> None:
        settings = _settings(config, config.encoder_attention_heads, config.encoder_ffn_dim, decodes=False)
        super().__init__(config, settings, config.encoder_layers, shared)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput:
        """Return the states of all positions."""
        flags: dict[str, Any] = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        result = self.run(input_ids, inputs_embeds, position_ids, attention_mask, use_cache=False, **flags)
        return self._returned(result.as_output(BaseModelOutput), return_dict)


class BartDecoder(_BartStack):
    """The decoder alone, attending to an encoder if it is given one's states.

    Returns BaseModelOutputWithPastAndCrossAttentions and, with `use_cache` off, BaseModelOutputWithCrossAttentions.
    """

    part = "decoder"

    def __init__(self, config: BartConfig, shared: Embedding | None = None) -> None:
        settings = _settings(config, config.decoder_attention_heads, config.decoder_ffn_dim, decodes=True)
        super().__init__(config, settings, config.decoder_layers, shared)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: PastKeyValues | None = None,
        use_cache: bool | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | BaseModelOutputWithCrossAttentions:
        """Return the states of all positions, and the cache."""
        use_cache = self.config.use_cache if use_cache is None else use_cache
        result = self.run(
            input_ids,
            inputs_embeds,
            position_ids,
            attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        cached = BaseModelOutputWithPastAndCrossAttentions
        return self._returned(
            result.as_output(cached if use_cache else BaseModelOutputWithCrossAttentions), return_dict
        )


class BartModel(BartPreTrainedModel):
    """Encoder and decoder; returns Seq2SeqModelOutput."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.shared = _token_embeddings(config)
        # Untied, encoder and decoder have tables of their own; checkpoints keep this one all the same.
        shared = self.shared if config.tie_word_embeddings else None
        self.encoder = BartEncoder(config, shared)
        self.decoder = BartDecoder(config, shared)
        self._initialise()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings: untied, the encoder's."""
        return self.encoder.get_input_embeddings()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        encoder_outputs: EncoderOutputs | None = None,
        past_key_values: PastKeyValues | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        return_dict: bool | None = None,
    ) -> Seq2SeqModelOutput:
        """Return the states of the decoder's positions, the cache, and the encoder's states.

        Args:
            input_ids: (B, E); not needed with `encoder_outputs`, nor with a cache.
            attention_mask: (B, E), for the encoder and for what the decoder sees of it: pass it in every step.
            decoder_input_ids: (B, S); where neither they nor `decoder_inputs_embeds` are passed, `input_ids` moved one
                to the right, as for denoising.
            decoder_attention_mask: (B, past + S).
            encoder_outputs: what the encoder returned before, as an output or a plain tuple.
            past_key_values: the cache.
            inputs_embeds: (B, E, hidden) in place of `input_ids`.
            decoder_inputs_embeds: (B, S, hidden) in place of `decoder_input_ids`.
            position_ids: (B, E).
            decoder_position_ids: (B, S).
            use_cache: return the cache.
            output_hidden_states: of encoder and decoder; layer indices count in each.
            output_attentions: likewise, and of the decoder's cross-attention.
            return_dict: return an output, not a plain tuple.
        """
        flags = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self._denoising_input(input_ids, attention_mask)
            if (
                decoder_attention_mask is None
                and attention_mask is not None
                and first_position(attention_mask) is not None
            ):
                # Of padding behind tokens nothing depends, and so not on whether another row has some before them.
                decoder_attention_mask = (attention_mask != 0).cumsum(-1) > 0
        encoded = None if encoder_outputs is None else as_output(encoder_outputs)
        if encoded is None and (input_ids is not None or inputs_embeds is not None):
            encoded = self.encoder(
                input_ids,
                attention_mask,
                position_ids=position_ids,
                inputs_embeds=inputs_embeds,
                return_dict=True,
                **flags,
            )
        if encoded is None and cross_length(past_key_values) is None:
            raise InputError(
                "neither input_ids, inputs_embeds, encoder_outputs nor a cache was passed; pass one of them"
            )
        result = self.decoder.run(
            decoder_input_ids,
            decoder_inputs_embeds,
            decoder_position_ids,
            decoder_attention_mask,
            prefix="decoder_",
            encoder_hidden_states=None if encoded is None else encoded.last_hidden_state,
            encoder_attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **flags,
        )
        return self._returned(_joined(result, encoded), return_dict)

    def _denoising_input(self, input_ids: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return the tokens moved one to the right, each row's start token where its first token was."""
        if input_ids is None:
            raise InputError("neither decoder_input_ids, decoder_inputs_embeds nor input_ids was passed; pass one")
        shifted, first = shift_right(input_ids, self.config), first_position(mask)
        if first is None or mask is None or mask.shape != input_ids.shape:  # of other shapes the encoder complains
            return shifted
        return shifted.scatter(1, first[:, None], cast("int", self.config.decoder_start_token_id))


def as_output(encoder_outputs: EncoderOutputs) -> BaseModelOutput:
    """Return what an encoder returned as an output, also where it was a plain tuple.

    Raises:
        InputError: it is neither, or holds no states.
    """
    if isinstance(encoder_outputs, ModelOutput) and "last_hidden_state" in encoder_outputs:
        return encoder_outputs
    if not isinstance(encoder_outputs, (tuple, list)) or not encoder_outputs or not _is_tensor(encoder_outputs[0]):
        raise InputError(
            f"encoder_outputs is a {type(encoder_outputs).__name__} without last_hidden_state; "
            "pass what the encoder returned"
        )
    # A plain tuple leaves out what was not asked for: what each of the others is, their tensors tell.
    named = {_AXES.get(_rank(item), "attentions"): item for item in encoder_outputs[1:] if item is not None}
    return BaseModelOutput(last_hidden_state=encoder_outputs[0], **named)


_AXES = {3: "hidden_states", 4: "attentions"}


def _rank(layers: Any) -> int:
    return next((layer.dim() for layer in layers if layer is not None), 0)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _joined(result: StackResult, encoded: BaseModelOutput | None) -> Seq2SeqModelOutput:
    return result.as_output(
        Seq2SeqModelOutput,
        decoder_hidden_states=result.hidden_states,
        decoder_attentions=result.attentions,
        encoder_last_hidden_state=None if encoded is None else encoded.last_hidden_state,
        encoder_hidden_states=None if encoded is None else encoded.hidden_states,
        encoder_attentions=None if encoded is None else encoded.attentions,
    )


def shift_right(ids: Tensor, config: BartConfig) -> Tensor:
    """Return what a decoder is given to predict `ids` (batch, seq): its start token, then all of them but the last.

    Labels of -100 become padding.

    Raises:
        InputError: the configuration has no start or no padding token, or these are no ids.
    """
    if ids.dim() != 2 or ids.is_floating_point():
        raise InputError(f"labels or input_ids are {ids.dtype} of shape {tuple(ids.shape)}; expected ids (batch, seq)")
    start, pad = config.decoder_start_token_id, config.pad_token_id
    if start is None or pad is None:
        raise InputError("decoder_start_token_id or pad_token_id is not configured; pass decoder_input_ids")
    shifted = torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], 1)
    return shifted.masked_fill(shifted == -100, pad)
