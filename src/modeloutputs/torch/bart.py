"""BART (Lewis et al., 2020): an encoder, and a decoder that attends to it.

Arguments are explained in `modeloutputs.torch.arguments`. Of an encoder-decoder's arguments, those without prefix are
the encoder's and those with `decoder_` the decoder's. Both take positions from their masks.
"""

import inspect
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from ..architectures import BartConfig
from ..architectures.bart import LAYER_PATHS, UNUSED_POSITIONS, WEIGHT_NAMES, decoder_settings, encoder_settings
from ..architectures.layers import LayerSettings
from ..errors import InputError
from ..files.checkpoints import find_checkpoint
from ..output import ModelOutput
from .arguments import EncoderOutputs
from .cache import PastKeyValues, cross_length
from .inputs import first_position
from .layers import LayerSelection
from .outputs import (
    BaseModelOutput,
    BaseModelOutputWithCrossAttentions,
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqModelOutput,
)
from .plain import apply_dropout, apply_positions
from .pretrained import PreTrainedModel, call_inner
from .stack import Stack, StackResult, run_stack
from .values import require_tensor

__all__ = ["BartDecoder", "BartEncoder", "BartModel", "BartPreTrainedModel", "as_output", "shift_right"]


class BartPreTrainedModel(PreTrainedModel[BartConfig]):
    """Base of BART models."""

    config_class = BartConfig
    weight_names = WEIGHT_NAMES
    layer_paths = LAYER_PATHS


def _token_embeddings(config: BartConfig) -> nn.Embedding:
    pad = config.pad_token_id
    known = pad is not None and pad < config.vocab_size  # the default may lie beyond a small vocabulary
    return nn.Embedding(config.vocab_size, config.d_model, padding_idx=pad if known else None)


class _BartStack(BartPreTrainedModel):
    """The common part of encoder and decoder: embeddings, normalised, and layers."""

    part: ClassVar[str]
    input_embeddings = "embed_tokens"

    def __init__(
        self, config: BartConfig, settings: LayerSettings, layers: int, embed_tokens: nn.Embedding | None
    ) -> None:
        super().__init__(config)
        if embed_tokens is not None:
            self.embed_tokens = embed_tokens
        with self._building():
            if embed_tokens is None:
                self.embed_tokens = _token_embeddings(config)
            self.embed_positions = nn.Embedding(config.max_position_embeddings + UNUSED_POSITIONS, config.d_model)
            self.layers = Stack.of_layers(settings, LAYER_PATHS, layers)
            self.layernorm_embedding = nn.LayerNorm(config.d_model, settings.norm_eps)
            self.dropout = nn.Dropout(config.dropout)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str] | None, **options: Any) -> Self:
        """Load this part of a whole model, or from a checkpoint of it alone; options are those of BartModel."""
        if name_or_path is None or options.get("config") is not None or options.get("output_loading_info"):
            return super().from_pretrained(name_or_path, **options)
        place = {name: options[name] for name in ("revision", "subfolder") if name in options}
        config = BartConfig.from_folder(find_checkpoint(name_or_path, weights=False, **place))
        written_by = config.other.get("architectures")
        if any(written_by == [base.__name__] for base in cls.__mro__):
            return super().from_pretrained(name_or_path, **options)
        own = {name: options.pop(name) for name in cls._own_options(options)}
        part = getattr(BartModel.from_pretrained(name_or_path, **options), cls.part)
        return part if type(part) is cls else cls._around(part, own)

    @classmethod
    def _own_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Return the options that a subclass's constructor takes."""
        parameters = inspect.signature(cls).parameters
        return [name for name in options if name in parameters and name not in ("config", "dtype", "device")]

    @classmethod
    def _around(cls, part: "_BartStack", options: Mapping[str, Any]) -> Self:
        """Return a subclass's model with the weights of a plain one."""
        model = cls(part.config, **options)
        model.load_state_dict(part.state_dict(), strict=False)
        return model.to(part.device, part.dtype).eval()

    def _run(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        position_ids: Tensor | None,
        attention_mask: Tensor | None,
        **given: Any,
    ) -> StackResult:
        """Check the inputs, embed the tokens and run the layers."""
        call, position_ids = self._begin_call(
            self.layers, input_ids, inputs_embeds, position_ids, attention_mask=attention_mask, **given
        )
        rows_of_table = None if position_ids is None else position_ids + UNUSED_POSITIONS
        hidden = self._embed(input_ids) if inputs_embeds is None else inputs_embeds
        hidden = hidden + apply_positions(self.embed_positions, rows_of_table, call.past + UNUSED_POSITIONS, hidden)
        return run_stack(self.layers, apply_dropout(self.dropout, self.layernorm_embedding(hidden)), call)

    def _embed(self, input_ids: Tensor | None) -> Tensor:
        hidden = self.embed_tokens(input_ids)
        return hidden * self.config.d_model**0.5 if self.config.scale_embedding else hidden


class BartEncoder(_BartStack):
    """The encoder alone; returns BaseModelOutput."""

    part = "encoder"

    def __init__(self, config: BartConfig, embed_tokens: nn.Embedding | None = None) -> None:
        super().__init__(config, encoder_settings(config), config.encoder_layers, embed_tokens)

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
        head_mask: Tensor | None = None,
    ) -> BaseModelOutput:
        """Return the states of all positions."""
        flags: dict[str, Any] = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        given = {"use_cache": False, "head_mask": head_mask, **flags}
        result = self._run(input_ids, inputs_embeds, position_ids, attention_mask, **given)
        return self._as_requested(result.as_output(BaseModelOutput), return_dict)


class BartDecoder(_BartStack):
    """The decoder alone, which attends to an encoder if it is given one's states.

    Returns BaseModelOutputWithPastAndCrossAttentions and, with `use_cache` off, BaseModelOutputWithCrossAttentions.
    """

    part = "decoder"

    def __init__(self, config: BartConfig, embed_tokens: nn.Embedding | None = None) -> None:
        super().__init__(config, decoder_settings(config), config.decoder_layers, embed_tokens)

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
        head_mask: Tensor | None = None,
        cross_attn_head_mask: Tensor | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | BaseModelOutputWithCrossAttentions:
        """Return the states of all positions, and the cache."""
        use_cache = self.config.use_cache if use_cache is None else use_cache
        result = self._run(
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
            head_mask=head_mask,
            cross_attn_head_mask=cross_attn_head_mask,
        )
        cls = BaseModelOutputWithPastAndCrossAttentions if use_cache else BaseModelOutputWithCrossAttentions
        return self._as_requested(result.as_output(cls), return_dict)


class BartModel(BartPreTrainedModel):
    """Encoder and decoder; returns Seq2SeqModelOutput."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        with self._building():
            self.shared = _token_embeddings(config)
            # Untied, encoder and decoder have tables of their own; checkpoints keep this one all the same.
            embed_tokens = self.shared if config.tie_word_embeddings else None
            self.encoder = BartEncoder(config, embed_tokens)
            self.decoder = BartDecoder(config, embed_tokens)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a module in the place of `shared` is the table of the halves that shared it, too."""
        modules: dict[str, Any] = self.__dict__.get("_modules", {})
        old, halves = modules.get("shared"), [modules.get("encoder"), modules.get("decoder")]
        super().__setattr__(name, value)
        if name == "shared" and old is not None:
            for half in halves:
                if half is not None and half.embed_tokens is old:
                    half.embed_tokens = value

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings: untied, the encoder's."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table of token embeddings, of both halves alike.

        Args:
            value: `nn.Embedding` (vocab, d_model), or a module that is called like one.
        """
        for owner, name in self._table_places():
            setattr(owner, name, value)

    def tie_weights(self) -> None:
        """Give both halves the shared table again, where the configuration ties them."""
        if self.config.tie_word_embeddings:
            self.encoder.embed_tokens = self.decoder.embed_tokens = self.shared

    def _table_places(self) -> list[tuple[nn.Module, str]]:
        return [(self.encoder, "embed_tokens"), (self.decoder, "embed_tokens"), (self, "shared")]

    def _token_tables(self) -> list[nn.Embedding]:
        return list(dict.fromkeys(getattr(owner, name) for owner, name in self._table_places()))

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
        head_mask: Tensor | None = None,
        decoder_head_mask: Tensor | None = None,
        cross_attn_head_mask: Tensor | None = None,
    ) -> Seq2SeqModelOutput:
        """Return the states of the decoder's positions, the cache, and the encoder's states.

        Args:
            input_ids: (B, E); not needed with `encoder_outputs`, nor with a cache.
            attention_mask: (B, E), for the encoder and for the decoder's attention to it: pass it in every step.
            decoder_input_ids: (B, S); where neither they nor `decoder_inputs_embeds` are passed, `input_ids` moved one
                to the right, as for denoising.
            decoder_attention_mask: (B, past + S).
            encoder_outputs: result of an earlier call of the encoder, as an output or a plain tuple.
            past_key_values: the cache.
            inputs_embeds: (B, E, hidden) in place of `input_ids`.
            decoder_inputs_embeds: (B, S, hidden) in place of `decoder_input_ids`.
            position_ids: (B, E).
            decoder_position_ids: (B, S).
            use_cache: return the cache.
            output_hidden_states: of encoder and decoder; layer indices count in each.
            output_attentions: likewise, and of the decoder's cross-attention.
            return_dict: return an output, not a plain tuple.
            head_mask: (heads,) or (layers, heads), factors on the encoder's attention weights.
            decoder_head_mask: the same of the decoder's attention to itself.
            cross_attn_head_mask: the same of its attention to the encoder.
        """
        flags = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids, decoder_attention_mask = self._denoising_input(
                input_ids, attention_mask, decoder_attention_mask
            )
        encoded = None if encoder_outputs is None else as_output(encoder_outputs)
        if encoded is None and (input_ids is not None or inputs_embeds is not None):
            options: Mapping[str, Any] = {"position_ids": position_ids, "inputs_embeds": inputs_embeds, **flags}
            options = {**options, "head_mask": head_mask}
            encoded = cast("BaseModelOutput", call_inner(self.encoder, input_ids, attention_mask, **options))
        if encoded is None and cross_length(past_key_values) is None:
            raise InputError(
                "neither input_ids, inputs_embeds, encoder_outputs nor a cache was passed; pass one of them"
            )
        self._check_tokens(decoder_input_ids, decoder_inputs_embeds, decoder_position_ids, "decoder_")
        decoded = call_inner(
            self.decoder,
            decoder_input_ids,
            decoder_attention_mask,
            position_ids=decoder_position_ids,
            inputs_embeds=decoder_inputs_embeds,
            encoder_hidden_states=None if encoded is None else encoded.last_hidden_state,
            encoder_attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            head_mask=decoder_head_mask,
            cross_attn_head_mask=cross_attn_head_mask,
            **flags,
        )
        return self._as_requested(_joined(decoded, encoded), return_dict)

    def _denoising_input(
        self, input_ids: Tensor | None, mask: Tensor | None, decoder_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the tokens moved one to the right, each row's start token in place of its first token, and a mask."""
        if input_ids is None:
            raise InputError("neither decoder_input_ids, decoder_inputs_embeds nor input_ids was passed; pass one")
        require_tensor(input_ids, "input_ids")
        if mask is not None:
            require_tensor(mask, "attention_mask")
        shifted, first = shift_right(input_ids, self.config), first_position(mask)
        if first is None or mask is None:
            return shifted, decoder_mask
        if decoder_mask is None:
            # Nothing depends on padding behind tokens, nor then on whether another row has padding before them.
            decoder_mask = (mask != 0).cumsum(-1) > 0
        if mask.shape != input_ids.shape:  # the encoder complains
            return shifted, decoder_mask
        return shifted.scatter(1, first[:, None], cast("int", self.config.decoder_start_token_id)), decoder_mask


def as_output(encoder_outputs: EncoderOutputs) -> BaseModelOutput:
    """Return an encoder's result as an output, also if it is a plain tuple.

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
    # A plain tuple leaves out what was not asked for; the tensors' ranks tell the other entries apart.
    named = {_BY_RANK.get(_rank(item), "attentions"): item for item in encoder_outputs[1:] if item is not None}
    return BaseModelOutput(last_hidden_state=encoder_outputs[0], **named)


_BY_RANK = {3: "hidden_states", 4: "attentions"}


def _rank(layers: Any) -> int:
    return next((layer.dim() for layer in layers if layer is not None), 0)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _joined(decoded: ModelOutput, encoded: BaseModelOutput | None) -> Seq2SeqModelOutput:
    renamed = {"hidden_states": "decoder_hidden_states", "attentions": "decoder_attentions"}
    output = Seq2SeqModelOutput(**{renamed.get(name, name): value for name, value in decoded.items()})
    if encoded is not None:
        output.update({f"encoder_{name}": value for name, value in encoded.items()})
    return output


def shift_right(ids: Tensor, config: BartConfig) -> Tensor:
    """Return the decoder's input for predicting `ids` (batch, seq): the start token, then all of them but the last.

    Labels of -100 become padding.

    Raises:
        InputError: the configuration has no start or no padding token, or these are not ids.
    """
    require_tensor(ids, "labels or input_ids")
    if ids.dim() != 2 or ids.is_floating_point():
        raise InputError(f"labels or input_ids are {ids.dtype} of shape {tuple(ids.shape)}; expected ids (batch, seq)")
    start, pad = config.decoder_start_token_id, config.pad_token_id
    if start is None or pad is None:
        raise InputError("decoder_start_token_id or pad_token_id is not configured; pass decoder_input_ids")
    shifted = torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], 1)
    return shifted.masked_fill(shifted == -100, pad)
