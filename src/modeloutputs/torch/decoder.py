"""The decoder of PyTorch models, for the loops of `modeloutputs.generation.loops`: tokens, mask and cache of each row.

All use of a model's layers by generation stands here.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError
from ..generation.beams import Candidates
from ..generation.prompt import Prompt
from ..generation.settings import GenerationSettings
from ..output.nested import map_arrays
from .attention import compute_dtype
from .cache import Cache, PastKeyValues, check_cache, past_length
from .layers import select_layers
from .sampling import sample_token, sample_tokens
from .scores import TokensSoFar, criteria_met, score_changes
from .stack import Stack
from .stack_runner import runner_of

__all__ = [
    "DECODER_INPUTS",
    "Decoder",
    "GenerativeModel",
    "accepted_inputs",
    "check_layer_selections",
    "continued_types",
    "given_cache",
    "select_rows",
]

CROSS_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
SEQ2SEQ_INPUTS = ("decoder_input_ids", "decoder_attention_mask", "encoder_outputs")
CACHE_INPUTS = ("past_key_values", "inputs_embeds")
DECODER_INPUTS = (*CROSS_INPUTS, *SEQ2SEQ_INPUTS, *CACHE_INPUTS, "token_type_ids")
"""Inputs that some models generate from, beside a prompt and its mask."""


class GenerativeModel(Protocol):
    """A model that the decoder calls; see `modeloutputs.torch.generation.GenerationMixin`."""

    keeps_cache: ClassVar[bool]
    """Whether the model takes and returns a cache."""

    def decode_step(
        self, tokens: Tensor | None, mask: Tensor | None, cache: PastKeyValues | None, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, PastKeyValues | None]:
        """Return the next token's logits, and the cache."""
        ...


def _stacks(model: GenerativeModel) -> list[Stack]:
    return [module for module in cast("nn.Module", model).modules() if isinstance(module, Stack)]


def accepted_inputs(model: GenerativeModel) -> tuple[str, ...]:
    """Return the names of the inputs that a model generates from beside its prompt."""
    stacks = _stacks(model)
    if len(stacks) > 1:
        return (*SEQ2SEQ_INPUTS, *CACHE_INPUTS)
    return (
        *(CROSS_INPUTS if stacks[-1].settings.cross_attention else ()),
        *(CACHE_INPUTS if model.keeps_cache else ()),
    )


def check_layer_selections(model: GenerativeModel, settings: GenerationSettings) -> None:
    """Refuse indices of layers that the model does not have, before it has generated anything.

    Raises:
        InputError: naming the setting and the index.
    """
    for stack in _stacks(model):
        select_layers(settings.output_hidden_states, len(stack) + 1, "output_hidden_states")
        select_layers(settings.output_attentions, len(stack), "output_attentions")


def _new_cache(model: GenerativeModel, rows: int, capacity: int) -> Cache | None:
    """Return an empty cache with room for `capacity` positions; None if the model keeps none."""
    if not model.keeps_cache:
        return None
    stack = _stacks(model)[-1]
    weight = stack.key_weight()
    if weight.is_meta:  # it waits elsewhere until it is used, as accelerate's do
        return None
    return Cache.with_room(
        layers=len(stack),
        batch=rows,
        kv_heads=stack.settings.key_heads,
        head_dim=stack.settings.head_width,
        capacity=capacity,
        dtype=compute_dtype(weight),
        device=weight.device,
        runner=runner_of(stack),
    )


def given_cache(model: GenerativeModel, past: Any, rows: int, length: int) -> Cache:
    """Return the cache that a caller passed, of fewer positions than the prompt: the last token is always read.

    Args:
        model: continues the prompt.
        past: what a call of it returned.
        rows: of the prompt.
        length: positions of the prompt, those of the cache included.

    Raises:
        InputError: a cache of another model or batch, or of more positions than the prompt has.
    """
    stack = _stacks(model)[-1]
    weight = stack.key_weight()
    shape = (rows, stack.settings.key_heads, stack.settings.head_width)
    check_cache(past, len(stack), shape, compute_dtype(weight), None if weight.is_meta else weight.device)
    cache = past if isinstance(past, Cache) else Cache(past)
    if cache.length > length:
        raise InputError(
            f"past_key_values holds {cache.length} positions and the prompt has {length}; pass the whole prompt, the "
            "tokens that the cache holds included"
        )
    return cache.crop(min(cache.length, length - 1))


def select_rows(value: Any, rows: Tensor) -> Any:
    """Return a nested value with these rows of each tensor."""
    return map_arrays(lambda tensor: tensor.index_select(0, rows), value)


def continued_types(types: Tensor | None, new: int) -> Tensor | None:
    """Return token types (B, P + new), the last of each row repeated."""
    return None if types is None else torch.cat([types, types[:, -1:].expand(-1, new)], 1)


class Decoder:
    """Implements `modeloutputs.generation.loops.DecoderProtocol`.

    Args:
        model: continues the prompt.
        prompt: what it continues.
        inputs: other inputs of the model, like the encoder's states. `past_key_values` hold the first positions of the
            prompt, `inputs_embeds` (B, P, hidden) are read in its place, `token_type_ids` (B, P) are continued with the
            last of them.
        settings: of the generation.
        device: of the model and its inputs.
    """

    def __init__(
        self,
        model: GenerativeModel,
        prompt: Prompt,
        inputs: Mapping[str, Any],
        settings: GenerationSettings,
        device: torch.device,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.settings = settings
        self.inputs = dict(inputs)
        self.cache: PastKeyValues | None = self.inputs.pop("past_key_values", None)
        self._cached = past_length(self.cache)
        if self.cache is None and settings.use_cache:
            self.cache = _new_cache(model, len(prompt.tokens), prompt.total_length)
        self.device = device
        self._length = prompt.length
        self._embeds: Tensor | None = self.inputs.pop("inputs_embeds", None)
        self._types: Tensor | None = continued_types(self.inputs.pop("token_type_ids", None), prompt.max_new_tokens)
        self._changes = score_changes(settings, prompt)
        added = ((0, 0), (0, prompt.max_new_tokens))
        self._tokens = torch.as_tensor(np.pad(prompt.tokens, added, constant_values=prompt.fill_id), device=device)
        self._mask: Tensor | None = None
        if prompt.mask is not None:
            self._mask = torch.as_tensor(np.pad(prompt.mask, added, constant_values=True), device=device).long()

    def scores(self) -> Tensor:
        """Return the scores (rows, vocab) that the next token is chosen by: log probabilities for beams, else logits.

        They are float32, or float64 where the model computes in that.
        """
        logits = self._next_logits()
        if self._length == self.prompt.length:
            logits = self._repeat_rows(logits)
        scores = logits if self.settings.num_beams == 1 else logits.log_softmax(-1)
        if self._changes:
            so_far = self._tokens_so_far()
            for change in self._changes:
                scores = change(scores, so_far)
        return scores

    def pick(self, scores: Tensor, finished: NDArray[np.bool_] | None) -> Tensor:
        """Return the best or a sampled token of each row (rows,), the fill token where `finished`."""
        tokens = sample_token(scores, self.settings.generator) if self.settings.do_sample else scores.argmax(-1)
        if finished is None:
            return tokens
        return tokens.masked_fill(torch.as_tensor(finished, device=tokens.device), self.prompt.fill_id)

    def top_candidates(self, scores: Tensor, running: NDArray[np.floating[Any]], count: int) -> Candidates:
        """Return the best, or sampled, continuations of the beams."""
        vocab = scores.shape[1]
        before = torch.as_tensor(running, device=scores.device)
        sums = (scores.view(*running.shape, vocab) + before[:, :, None]).flatten(1)
        count = min(count, sums.shape[1])
        if self.settings.do_sample:
            indices = sample_tokens(sums, count, self.settings.generator)
            best = sums.gather(1, indices)
        else:
            best, indices = sums.topk(count)
        parents, tokens = np.divmod(indices.cpu().numpy(), vocab)
        return Candidates(best.cpu().numpy(), parents, tokens)

    def append(self, tokens: Tensor | NDArray[np.int64]) -> None:
        """Append a token (rows,) to each row."""
        self._tokens[:, self._length] = torch.as_tensor(tokens)
        self._length += 1

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Continue from these rows, each of the same prompt as the row that it replaces."""
        if not np.array_equal(rows, np.arange(len(rows))):
            indices = torch.as_tensor(rows, device=self._tokens.device)
            self._tokens = self._tokens.index_select(0, indices)
            self._reorder_cache(indices, same_encoder=True)

    def criteria_met(self, sequences: NDArray[np.int64] | None, scores: Tensor) -> NDArray[np.bool_]:
        """Return whether the caller's criteria end each sequence, by default each row as it is."""
        tokens = self._tokens if sequences is None else torch.as_tensor(sequences, device=self._tokens.device)
        length = self._length if sequences is None else tokens.shape[1]
        return criteria_met(self.settings.stopping_criteria, tokens[:, self.prompt.unseen : length], scores)

    def recent(self, count: int) -> NDArray[np.int64]:
        """Return the last `count` tokens of each row, or all if there are fewer."""
        return self._tokens[:, max(0, self._length - count) : self._length].cpu().numpy()

    def _next_logits(self) -> Tensor:
        mask = None if self._mask is None else self._mask[:, : self._length]
        tokens, inputs = self._step_inputs()
        logits, cache = self.model.decode_step(tokens, mask, self.cache, inputs)
        if cache is not None and self.settings.use_cache:
            self.cache = Cache(cache) if type(cache) is tuple else cache  # a plain one is what compiled models return
            self._cached = self._length
            # The cache holds the encoder's keys and values now, in place of its states.
            self.inputs = {name: value for name, value in self.inputs.items() if name.endswith("mask")}
        return logits if logits.dtype == torch.float64 else logits.float()

    def _step_inputs(self) -> tuple[Tensor | None, Mapping[str, Any]]:
        """Return the tokens that were not read yet, and the model's other inputs."""
        unread = slice(self._cached, self._length)
        if self._embeds is None and self._types is None:
            return self._tokens[:, unread], self.inputs
        inputs = dict(self.inputs)
        if self._types is not None:
            inputs["token_type_ids"] = self._types[:, unread]
        if self._embeds is None:
            return self._tokens[:, unread], inputs
        inputs["inputs_embeds"], self._embeds = self._embeds[:, unread], None
        return None, inputs

    def _tokens_so_far(self) -> TokensSoFar:
        seen = slice(self.prompt.unseen, self._length)
        return TokensSoFar(self._tokens[:, seen], None if self._mask is None else self._mask[:, seen], self._length)

    def _repeat_rows(self, logits: Tensor) -> Tensor:
        """Continue from each prompt several times, having computed it once."""
        settings = self.settings
        times = settings.num_return_sequences if settings.num_beams == 1 else settings.num_beams
        if times == 1:
            return logits
        rows = torch.arange(len(self._tokens), device=self._tokens.device).repeat_interleave(times)
        parts = (self._tokens, self._mask, self._types, self.inputs)
        self._tokens, self._mask, self._types, self.inputs = select_rows(parts, rows)
        self._reorder_cache(rows, same_encoder=False)
        return logits.repeat_interleave(times, 0)

    def _reorder_cache(self, rows: Tensor, *, same_encoder: bool) -> None:
        if isinstance(self.cache, Cache):
            self.cache = self.cache.reorder(rows, same_encoder=same_encoder)
