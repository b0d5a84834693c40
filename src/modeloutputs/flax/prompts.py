"""What `generate` of Flax models starts from: prompts, their mask, and an encoder's input; known or traced.

B rows, P positions of the prompts, E of the encoder.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from ..architectures.checks import check_ids
from ..errors import InputError
from ..generation.processors import PADDING
from ..generation.prompt import ModelLimits, Prompt, chosen_tokens, mask_of_pads
from ..generation.settings import GenerationSettings
from .decoding import PromptArrays
from .inputs import as_array, facts
from .libraries import is_traced, jax, jnp

__all__ = ["GIVEN_INPUTS", "FlaxPrompt", "decoder_prompt", "seq2seq_prompt"]

CROSS_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
SEQ2SEQ_INPUTS = ("decoder_input_ids", "decoder_attention_mask", "encoder_outputs")
GIVEN_INPUTS = (*CROSS_INPUTS, *SEQ2SEQ_INPUTS)
"""Inputs that some models generate from, beside a prompt and its mask."""

SMALLEST_BUCKET = 16
"""Prompts of fewer positions are padded to as many, so that they share a compiled loop."""


class FlaxPrompt(NamedTuple):
    """Prompts, and the arrays that a loop takes, padded so that near lengths share a compiled one."""

    prompt: Prompt
    arrays: PromptArrays
    added: int
    """Positions of padding before the prompts."""


class _Encoder(NamedTuple):
    """What a decoder is given of an encoder, and the tokens that settings look at."""

    inputs: dict[str, Any]
    source: Any = None


def decoder_prompt(
    input_ids: Any,
    mask: Any,
    given: Mapping[str, Any],
    settings: GenerationSettings,
    limits: ModelLimits,
) -> FlaxPrompt:
    """Return the prompt of a decoder: the tokens that were passed, or its start token.

    Args:
        input_ids: (B, P) or None.
        mask: (B, P) or None.
        given: `encoder_hidden_states` (B, E, hidden) and `encoder_attention_mask` (B, E), where it has cross-attention.
        settings: of the generation.
        limits: of the model.

    Raises:
        InputError: wrong shapes, dtypes or values, or no token to start from.
    """
    states = given.get("encoder_hidden_states")
    rows = 1 if states is None else states.shape[0]
    tokens = _tokens("input_ids", input_ids, limits)
    if tokens is None:
        start = chosen_tokens("bos_token_id", settings, limits)
        if not start:
            raise InputError(
                "input_ids was not passed, and there is no bos_token_id to start from; pass the tokens of a prompt, at "
                "least one, or bos_token_id"
            )
        tokens = np.full((rows, 1), start[0], np.int32)
    if states is not None and rows != len(tokens):
        raise InputError(f"encoder_hidden_states has {rows} rows and the prompt {len(tokens)}; pass as many")
    return _prompt(tokens, mask, "attention_mask", _Encoder(dict(given)), settings, limits)


def seq2seq_prompt(
    input_ids: Any,
    mask: Any,
    given: Mapping[str, Any],
    settings: GenerationSettings,
    limits: ModelLimits,
) -> FlaxPrompt:
    """Return the prompt of an encoder-decoder's decoder, by default its start token, with the encoder's input.

    Args:
        input_ids: (B, E), the encoder's, or None where its outputs are passed.
        mask: (B, E) or None.
        given: `decoder_input_ids` (B, P), `decoder_attention_mask` (B, P), `encoder_outputs`.
        settings: of the generation.
        limits: of the model.

    Raises:
        InputError: wrong shapes, dtypes or values, or no token to start from.
    """
    encoder = _encoder(input_ids, mask, given.get("encoder_outputs"), settings, limits)
    rows = len(next(iter(encoder.inputs.values())))
    tokens = _tokens("decoder_input_ids", given.get("decoder_input_ids"), limits)
    start = None
    if tokens is None:
        names = ("decoder_start_token_id", "bos_token_id")
        start = next((token for name in names for token in chosen_tokens(name, settings, limits)), None)
        if start is None:
            raise InputError("decoder_start_token_id is not configured; pass it, or decoder_input_ids")
        tokens = np.full((rows, 1), start, np.int32)
    if len(tokens) != rows:
        raise InputError(f"decoder_input_ids has {len(tokens)} rows, the encoder's states {rows}; pass as many")
    start = start if start is not None else (chosen_tokens("decoder_start_token_id", settings, limits) or [None])[0]
    decoder_mask = given.get("decoder_attention_mask")
    return _prompt(tokens, decoder_mask, "decoder_attention_mask", encoder, settings, limits, start)


def _encoder(input_ids: Any, mask: Any, outputs: Any, settings: GenerationSettings, limits: ModelLimits) -> _Encoder:
    """Return the encoder's input or states, and its tokens."""
    tokens = _tokens("input_ids", input_ids, limits)
    if outputs is not None:
        inputs: dict[str, Any] = {"encoder_hidden_states": outputs[0]}
        mask = None if mask is None else as_array("attention_mask", mask)
    elif tokens is None:
        raise InputError("input_ids was not passed; pass what the encoder reads, or encoder_outputs")
    else:
        mask = _mask_or_pads("attention_mask", mask, tokens, settings, limits)
        if not is_traced(tokens) and not is_traced(mask):
            mask = np.ones(tokens.shape, np.bool_) if mask is None else np.asarray(mask) != 0
            extra = ((0, 0), (0, _bucket(tokens.shape[1]) - tokens.shape[1]))
            tokens, mask = np.pad(np.asarray(tokens), extra), np.pad(mask, extra)
        inputs = {"input_ids": tokens}
    if mask is not None:
        inputs["encoder_attention_mask"] = mask
    source = tokens if tokens is None or mask is None else jnp.where(jnp.asarray(mask) != 0, tokens, PADDING)
    return _Encoder(inputs, source)


def _prompt(
    tokens: Any,
    mask: Any,
    mask_name: str,
    encoder: _Encoder,
    settings: GenerationSettings,
    limits: ModelLimits,
    start: int | None = None,
) -> FlaxPrompt:
    seen = _mask_or_pads(mask_name, mask, tokens, settings, limits, start)
    takes_source = settings.encoder_no_repeat_ngram_size > 0
    if is_traced(tokens) or is_traced(seen):
        # Of a trace, only shapes are known.
        shape: tuple[int, ...] = tokens.shape
        prompt = Prompt.of(np.zeros(shape, np.int64), None, settings, limits)
        tokens, seen = _aligned(tokens, seen)
        source = encoder.source if encoder.source is not None else jnp.where(seen, tokens, PADDING)
        arrays = PromptArrays(tokens, seen, encoder.inputs, source if takes_source else None)
        return FlaxPrompt(prompt, arrays, 0)
    known = None if seen is None else np.asarray(seen) != 0
    source = None if encoder.source is None else np.asarray(encoder.source, np.int64)
    prompt = Prompt.of(np.asarray(tokens, np.int64), known, settings, limits, source=source)
    added = _bucket(prompt.length) - prompt.length if prompt.length > 1 else 0
    pads = ((0, 0), (added, 0))
    arrays = PromptArrays(
        np.pad(prompt.tokens, pads).astype(np.int32),
        np.pad(prompt.attended, pads),
        encoder.inputs,
        _padded_source(prompt.source) if takes_source else None,
    )
    return FlaxPrompt(prompt, cast("PromptArrays", jax.tree.map(jnp.asarray, arrays)), added)


def _tokens(name: str, value: Any, limits: ModelLimits) -> Any:
    """Return tokens, checked as far as they are known."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        kind = type(cast("object", value)).__name__
        raise InputError(f"{name} is a {kind}; unpack what the tokenizer returned: generate(**encoding)")
    tokens = as_array(name, value)
    check_ids(facts(tokens), limits.vocab_size, name)
    return tokens


def _mask_or_pads(
    name: str, mask: Any, tokens: Any, settings: GenerationSettings, limits: ModelLimits, start: int | None = None
) -> Any:
    """Return a mask (B, P) that was passed, else what is padding by the padding token; None for no padding."""
    if mask is not None:
        if hasattr(mask, "to_dict"):
            raise InputError(f"{name} is a {type(mask).__name__}; pass settings by name, as generation_config")
        mask = as_array(name, mask)
        if mask.shape != tokens.shape:
            raise InputError(f"{name} has shape {tuple(mask.shape)}; expected {tuple(tokens.shape)}, the tokens'")
        return mask
    if not is_traced(tokens):
        return mask_of_pads(np.asarray(tokens), settings, limits, start) if tokens.size else None
    pad = (chosen_tokens("pad_token_id", settings, limits) or [None])[0]
    if pad is None or pad == start or pad in chosen_tokens("eos_token_id", settings, limits):
        return None
    seen = tokens != pad
    last = jnp.arange(tokens.shape[1]) == tokens.shape[1] - 1
    return seen | (~seen.any(1, keepdims=True) & last)


def _aligned(tokens: Any, mask: Any) -> tuple[Any, Any]:
    """Return tokens and mask with padding moved from behind prompts to before them, in a trace."""
    tokens = jnp.asarray(tokens, jnp.int32)
    if mask is None:
        return tokens, jnp.ones(tokens.shape, bool)
    seen, length = jnp.asarray(mask) != 0, tokens.shape[1]
    trailing = jnp.argmax(seen[:, ::-1], 1)[:, None]
    order = (jnp.arange(length) - trailing) % length
    return jnp.take_along_axis(tokens, order, 1), jnp.take_along_axis(seen, order, 1)


def _padded_source(source: Any) -> Any:
    """Return the tokens (B, E) of the input with padding behind them, so that near lengths share a compiled loop."""
    if source is None:
        return None
    extra = ((0, 0), (0, _bucket(source.shape[1]) - source.shape[1]))
    return np.pad(source, extra, constant_values=PADDING).astype(np.int32)


def _bucket(length: int) -> int:
    """Return the positions that arrays of a length have: the next power of two."""
    return max(SMALLEST_BUCKET, 1 << (length - 1).bit_length())
