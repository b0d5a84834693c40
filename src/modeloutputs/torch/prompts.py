"""What `generate` of PyTorch models starts from: tokens or embeddings, their mask, a cache, or a start token."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..generation.prompt import ModelLimits, Prompt, chosen_tokens, left_order, mask_of_pads
from ..generation.settings import GenerationSettings
from .inputs import check_embeds, check_ids

__all__ = [
    "PromptTensors",
    "aligned_left",
    "bos_prompt",
    "check_tensors",
    "checked_prompt",
    "decoder_prompt",
    "mask_from_pads",
    "start_token",
    "token_types",
]


class PromptTensors(NamedTuple):
    """A decoder's prompt, as tensors, and what else the model is given."""

    tokens: Tensor
    """(B, P); zeros where embeddings stand in their place."""
    mask: Tensor | None
    """(B, P), or None where padding tokens say what is padding."""
    inputs: dict[str, Any]
    """By name, for every step."""
    start: int | None = None
    """The token that an encoder-decoder's prompts start from."""
    source: Tensor | None = None
    """(B, E) the encoder's tokens, -1 at padding; None for those of the prompt."""
    unseen: int = 0
    """P where embeddings stand in place of the tokens, else 0."""


def check_tensors(inputs: Mapping[str, Any]) -> None:
    """Refuse what is no tensor, among the inputs of those names that are.

    Raises:
        InputError: naming the input and its type.
    """
    for name in ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask", "inputs_embeds"):
        value: Any = inputs.get(name)
        if value is None or isinstance(value, Tensor):
            continue
        advice = "pass tensors, as the tokenizer returns them with return_tensors='pt'"
        if isinstance(value, Mapping):
            advice = "unpack what the tokenizer returned: generate(**encoding)"
        elif name == "attention_mask" and hasattr(value, "to_dict"):
            advice = "pass settings by name, as generation_config"
        raise InputError(f"{name} is a {type(cast('object', value)).__name__}; {advice}")


def decoder_prompt(
    input_ids: Tensor | None,
    mask: Tensor | None,
    inputs: dict[str, Any],
    settings: GenerationSettings,
    model: Any,
) -> PromptTensors:
    """Return the prompt of a decoder: tokens, embeddings, both of the same positions, or the start token alone.

    Raises:
        InputError: embeddings of another shape, or states asked for with them, or no prompt and no start token.
    """
    embeds: Tensor | None = inputs.get("inputs_embeds")
    if embeds is None:
        if input_ids is None:
            states: Tensor | None = inputs.get("encoder_hidden_states")
            input_ids = bos_prompt(1 if states is None else len(states), settings, model)
        return PromptTensors(input_ids, mask, inputs)
    check_embeds(embeds, model.config.hidden_size, "inputs_embeds")
    if settings.output_hidden_states or settings.output_attentions:
        raise InputError("states of generated tokens were asked for with inputs_embeds; call the model for them")
    if input_ids is not None:
        check_ids(input_ids, model.config.vocab_size, "input_ids", tuple(embeds.shape[:2]))
        return PromptTensors(input_ids, mask, inputs)
    tokens = torch.zeros(embeds.shape[:2], dtype=torch.int64, device=embeds.device)
    mask = torch.ones_like(tokens) if mask is None else mask  # tokens that are not known are no padding
    return PromptTensors(tokens, mask, inputs, unseen=embeds.shape[1])


def bos_prompt(rows: int, settings: GenerationSettings, model: Any) -> Tensor:
    """Return prompts (rows, 1) of the token that texts start from.

    Raises:
        InputError: none is configured.
    """
    tokens = chosen_tokens("bos_token_id", settings, model.generation_limits)
    if not tokens:
        raise InputError(
            "input_ids was not passed, and there is no bos_token_id to start from; pass the tokens of a prompt, at "
            "least one, or bos_token_id"
        )
    return torch.full((rows, 1), tokens[0], device=model.device)


def start_token(settings: GenerationSettings, limits: ModelLimits) -> int:
    """Return the token that an encoder-decoder starts from.

    Raises:
        InputError: none is configured.
    """
    for name in ("decoder_start_token_id", "bos_token_id"):
        if tokens := chosen_tokens(name, settings, limits):
            return tokens[0]
    raise InputError("decoder_start_token_id is not configured; pass it, or decoder_input_ids")


def mask_from_pads(input_ids: Tensor, settings: GenerationSettings, limits: ModelLimits) -> Tensor | None:
    """Return the mask (B, E) of an encoder's tokens that were passed without one; None without padding."""
    check_ids(input_ids, limits.vocab_size, "input_ids")
    if not input_ids.numel():
        return None
    mask = mask_of_pads(_to_int64(input_ids), settings, limits)
    return None if mask is None else torch.as_tensor(mask, device=input_ids.device).long()


def checked_prompt(given: PromptTensors, settings: GenerationSettings, limits: ModelLimits) -> Prompt:
    """Return the prompt, checked and padded on the left; see `Prompt.of`."""
    tokens = _to_int64(given.tokens)
    mask = None if given.mask is None else (given.mask != 0).cpu().numpy()
    if mask is None and tokens.size:
        mask = mask_of_pads(tokens, settings, limits, given.start)
    source = None if given.source is None else _to_int64(given.source)
    return Prompt.of(tokens, mask, settings, limits, unseen=given.unseen, source=source)


def aligned_left(inputs: dict[str, Any], mask: Tensor | None) -> dict[str, Any]:
    """Return a decoder's inputs in the order of positions that padding moved before the prompts gives them.

    Args:
        inputs: of them, `inputs_embeds` and `token_type_ids` have positions (B, P, ...).
        mask: (B, P) as it was passed.

    Raises:
        InputError: positions would move away from those of a cache.
    """
    if mask is None or bool((mask[:, -1] != 0).all()):
        return inputs
    if "past_key_values" in inputs:
        raise InputError("attention_mask has padding behind the prompt, away from the cache; pad on the left")
    order = torch.as_tensor(left_order((mask != 0).cpu().numpy()), device=mask.device)
    rows = torch.arange(len(order), device=mask.device)[:, None]
    moved = {name: inputs[name][rows, order] for name in ("inputs_embeds", "token_type_ids") if name in inputs}
    return {**inputs, **moved}


def token_types(model: Any, types: Any, shape: tuple[int, ...]) -> Tensor | None:
    """Return the token types that a model takes; None where it has none, which tokenizers do not know.

    Raises:
        InputError: types other than 0 for a model without, or of another shape than the prompt.
    """
    if not isinstance(types, Tensor):
        raise InputError(f"token_type_ids is a {type(types).__name__}; pass a tensor")
    if "token_type_ids" not in inspect.signature(model.base_model.forward).parameters:
        if bool((types != 0).any()):
            raise InputError(f"{type(model).__name__} has no token types; leave token_type_ids out")
        return None
    if types.shape != shape:
        raise InputError(f"token_type_ids has shape {tuple(types.shape)}; expected {shape}, the prompt's")
    return types


def _to_int64(tokens: Tensor) -> NDArray[np.int64]:
    return cast("NDArray[np.int64]", tokens.to("cpu", torch.int64).numpy())
