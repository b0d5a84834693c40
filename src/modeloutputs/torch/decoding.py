"""The loops of generation: what is chosen step by step, on what the model keeps of the steps before."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..output import ModelOutput
from ..tokenizers import PreTrainedTokenizer
from .beams import Beams
from .cache import Cache, PastKeyValues
from .sampling import draw, force, keep_min_p, keep_top_k, keep_top_p, penalise_repetition
from .settings import GenerationSettings
from .stack import Stack
from .steps import Steps, can_step

__all__ = ["Decodes", "Prompt", "Result", "rows_of", "sample", "search", "steps"]


class Decodes(Protocol):
    """What the loops ask of a model; see `GenerationMixin`."""

    def decoder_stack(self) -> Stack:
        """Return the layers that decode."""
        ...

    def new_cache(self, batch: int, capacity: int) -> Cache | None:
        """Return an empty cache."""
        ...

    def decode(
        self, tokens: Tensor, mask: Tensor | None, cache: PastKeyValues | None, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, PastKeyValues | None]:
        """Return the next token's logits, and the cache."""
        ...


@dataclass
class Prompt:
    """What is gone on from, checked, and the tokens that mean something."""

    tokens: Tensor
    mask: Tensor | None
    inputs: dict[str, Any]
    room: int
    ends: list[int]
    pad: int | None
    forced_first: list[int]
    forced_last: list[int]

    @property
    def filler(self) -> int:
        """What positions hold that no token was chosen for."""
        return self.pad if self.pad is not None else (self.ends or [0])[0]


def rows_of(inputs: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """Return inputs for these rows of the batch."""
    return {name: _take_rows(value, rows) for name, value in inputs.items()}


def _take_rows(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value.index_select(0, rows)
    if isinstance(value, ModelOutput):
        return type(value)(**{name: _take_rows(item, rows) for name, item in value.items()})
    return (
        tuple(_take_rows(item, rows) for item in cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
    )


class Decoding:
    """Rows that are being decoded: their tokens so far, and what the model keeps of them."""

    def __init__(self, model: Decodes, prompt: Prompt) -> None:
        rows, self.length = prompt.tokens.shape
        self.model = model
        self.inputs = prompt.inputs
        total = self.length + prompt.room
        self.tokens = prompt.tokens.new_full((rows, total), prompt.filler)
        self.tokens[:, : self.length] = prompt.tokens
        self.mask: Tensor | None = None
        if prompt.mask is not None:
            self.mask = prompt.mask.new_ones(rows, total)
            self.mask[:, : self.length] = prompt.mask
        self.cache: PastKeyValues | None = model.new_cache(rows, total)
        self._held = 0
        stack = model.decoder_stack()
        self._steps = Steps(stack).used if can_step(stack) else nullcontext

    def logits(self) -> Tensor:
        """Return the logits (rows, vocab) of the next token, as float32 at least."""
        mask = None if self.mask is None else self.mask[:, : self.length]
        tokens = self.tokens[:, self._held : self.length]
        with self._steps():
            logits, self.cache = self.model.decode(tokens, mask, self.cache, self.inputs)
        if self.cache is not None:
            self.cache = Cache(self.cache) if type(self.cache) is tuple else self.cache  # as compiled models return it
            self._held = self.length
            # The cache holds what the encoder's states were needed for.
            self.inputs = {name: value for name, value in self.inputs.items() if name.endswith("mask")}
        return logits if logits.dtype == torch.float64 else logits.float()

    def append(self, tokens: Tensor) -> None:
        """Add a token (rows,) to each row."""
        self.tokens[:, self.length] = tokens
        self.length += 1

    def repeat(self, times: int) -> None:
        """Go on from each row several times."""
        if times > 1:
            rows = torch.arange(len(self.tokens), device=self.tokens.device).repeat_interleave(times)
            self._select(rows, siblings=False)

    def reorder(self, rows: Tensor, tokens: Tensor) -> None:
        """Go on from these rows, each of the same prompt as the one whose place it takes; their tokens are `tokens`."""
        self.length = tokens.shape[1]
        if not torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            self._select(rows, siblings=True)
        self.tokens[:, : self.length] = tokens

    def _select(self, rows: Tensor, *, siblings: bool) -> None:
        if isinstance(self.cache, Cache):
            self.cache = self.cache.reorder(rows, same_encoder=siblings)
        if not siblings:
            self.tokens = self.tokens.index_select(0, rows)
            self.mask = None if self.mask is None else self.mask.index_select(0, rows)
            self.inputs = rows_of(self.inputs, rows)


@dataclass
class Step:
    """One step's tokens (rows,), the scores (rows, vocab) that they were chosen by, and which rows had not ended."""

    tokens: Tensor
    scores: Tensor
    going: Tensor


@dataclass
class Result:
    """Sequences (rows, positions), which of their positions are tokens, and scores."""

    sequences: Tensor
    kept: Tensor
    scores: Tensor | None = None
    sequences_scores: Tensor | None = None


def _scorer(prompt: Prompt, settings: GenerationSettings) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what maps scores (rows, vocab) and the tokens so far (rows, length) to the scores that are chosen by."""
    changes: list[Callable[[Tensor], Tensor]] = []
    if settings.do_sample:
        # Beams draw several continuations of each, and one that cannot come is none.
        least = 1 if settings.num_beams == 1 else max(2, 1 + len(prompt.ends))
        if settings.temperature != 1.0:
            changes.append(lambda scores: scores / settings.temperature)
        if settings.top_k is not None:
            changes.append(partial(keep_top_k, count=settings.top_k, least=least))
        if settings.top_p is not None and settings.top_p < 1.0:
            changes.append(partial(keep_top_p, mass=settings.top_p, least=least))
        if settings.min_p is not None:
            changes.append(partial(keep_min_p, share=settings.min_p, least=least))
    start = prompt.tokens.shape[1]
    forced = {1: prompt.forced_first, start + prompt.room - 1: prompt.forced_last}

    def change(scores: Tensor, tokens: Tensor) -> Tensor:
        if settings.repetition_penalty != 1.0:
            scores = penalise_repetition(scores, _without_padding(tokens, prompt), settings.repetition_penalty)
        if only := forced.get(tokens.shape[1]):
            scores = force(scores, only)
        for apply in changes:
            scores = apply(scores)
        return scores

    return change


def _without_padding(tokens: Tensor, prompt: Prompt) -> Tensor:
    """Put a row's last token in place of the padding before its prompt."""
    if prompt.mask is None:
        return tokens
    hidden = (prompt.mask == 0).repeat_interleave(len(tokens) // len(prompt.mask), 0)
    padded = F.pad(hidden, (0, tokens.shape[1] - hidden.shape[1]))
    return torch.where(padded, tokens[:, -1:], tokens)


def _ender(prompt: Prompt, settings: GenerationSettings) -> Callable[[Tensor], Tensor]:
    """Return what maps sequences (rows, length) to whether each ends with its last token (rows,)."""
    ends = torch.tensor(prompt.ends, device=prompt.tokens.device, dtype=prompt.tokens.dtype)
    stopped = _stopper(prompt, settings) if settings.stop_strings and settings.tokenizer is not None else None

    def ended(tokens: Tensor) -> Tensor:
        last = tokens[:, -1]
        done = last == ends if len(ends) == 1 else torch.isin(last, ends)
        return done if stopped is None else done | torch.tensor(stopped(tokens), device=done.device)

    return ended


def _stopper(prompt: Prompt, settings: GenerationSettings) -> Callable[[Tensor], list[bool]]:
    """Return what maps sequences (rows, length) to whether the new text of each holds a stop string."""
    given = settings.stop_strings
    stops = [stop for stop in ([given] if isinstance(given, str) else given) if stop]
    # A token stands for a byte at least; what does not, like special tokens, may come up a few times.
    reach = max((len(stop.encode()) for stop in stops), default=0) + 8
    start = prompt.tokens.shape[1]
    decode = cast("PreTrainedTokenizer", settings.tokenizer).batch_decode

    def stopped(tokens: Tensor) -> list[bool]:
        # With the token before, since some tokenizers leave the space out that begins a text.
        first = max(start - 1, tokens.shape[1] - reach)
        known = (
            [len(text) for text in decode(_as_lists(tokens[:, first:start]))] if first < start else [0] * len(tokens)
        )
        texts = decode(_as_lists(tokens[:, first:]))
        return [any(stop in text[n:] for stop in stops) for text, n in zip(texts, known, strict=True)]

    return stopped


def _as_lists(tokens: Tensor) -> list[list[int]]:
    return cast("list[list[int]]", tokens.tolist())  # pyright: ignore[reportUnknownMemberType]


def steps(model: Decodes, prompt: Prompt, settings: GenerationSettings) -> Iterator[Step]:
    """Yield tokens until all rows have ended; rows that have get padding."""
    decoding = Decoding(model, prompt)
    change, ended = _scorer(prompt, settings), _ender(prompt, settings)
    may_end = bool(prompt.ends or settings.stop_strings)
    going = torch.ones(
        len(prompt.tokens) * settings.num_return_sequences, dtype=torch.bool, device=prompt.tokens.device
    )
    for step in range(prompt.room):
        logits = decoding.logits()
        if step == 0 and settings.num_return_sequences > 1:
            decoding.repeat(settings.num_return_sequences)
            logits = logits.repeat_interleave(settings.num_return_sequences, 0)
        scores = change(logits, decoding.tokens[:, : decoding.length])
        tokens = draw(scores, settings.generator) if settings.do_sample else scores.argmax(-1)
        if may_end:
            tokens = torch.where(going, tokens, prompt.filler)
        decoding.append(tokens)
        yield Step(tokens, scores, going)
        if may_end:
            going = going & ~ended(decoding.tokens[:, : decoding.length])
            if not bool(going.any()):
                return


def sample(
    model: Decodes,
    prompt: Prompt,
    settings: GenerationSettings,
    on_tokens: Callable[[Tensor], object] | None,
) -> Result:
    """Choose each token by its score alone."""
    tokens: list[Tensor] = []
    going: list[Tensor] = []
    scores: list[Tensor] = []
    for step in steps(model, prompt, settings):
        tokens.append(step.tokens)
        going.append(step.going)
        scores.extend([step.scores] if settings.output_scores else [])
        if on_tokens is not None:
            on_tokens(step.tokens)
    new = torch.stack(tokens, 1)
    times = settings.num_return_sequences
    sequences = torch.cat([prompt.tokens.repeat_interleave(times, 0), new], 1)
    return Result(sequences, _kept(prompt, times, torch.stack(going, 1)), torch.stack(scores, 1) if scores else None)


def _kept(prompt: Prompt, times: int, new: Tensor) -> Tensor:
    mask = torch.ones_like(prompt.tokens) if prompt.mask is None else prompt.mask
    return torch.cat([(mask != 0).repeat_interleave(times, 0), new], 1)


# -- beam search ------------------------------------------------------------------------------------------------------


def search(model: Decodes, prompt: Prompt, settings: GenerationSettings) -> Result:
    """Look for the likeliest sequence."""
    beams = Beams(
        prompt.tokens,
        prompt.room,
        width=settings.num_beams,
        end_tokens=len(prompt.ends),
        filler=prompt.filler,
        length_penalty=settings.length_penalty,
        early_stopping=settings.early_stopping,
    )
    decoding = Decoding(model, prompt)
    change, ended = _scorer(prompt, settings), _ender(prompt, settings)
    total = prompt.tokens.shape[1] + prompt.room

    def ends(tokens: Tensor) -> Tensor:
        return torch.ones_like(tokens[:, 0], dtype=torch.bool) if tokens.shape[1] == total else ended(tokens)

    pick = partial(_pick_drawn, settings.generator) if settings.do_sample else _pick_best
    scores: list[Tensor] = []
    while beams.go_on():
        logits = decoding.logits()
        if beams.step == 0:
            decoding.repeat(settings.num_beams)
            logits = logits.repeat_interleave(settings.num_beams, 0)
        log_probabilities = change(logits.log_softmax(-1), beams.sequences)
        scores.extend([log_probabilities] if settings.output_scores else [])
        rows = beams.advance(log_probabilities, ends, pick)
        decoding.reorder(rows, beams.sequences)
    return _best(prompt, settings, beams, scores)


def _pick_best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    best = scores.topk(count)
    return best.values, best.indices


def _pick_drawn(generator: torch.Generator | None, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    indices = torch.multinomial(scores.softmax(-1), count, generator=generator)
    return scores.gather(1, indices), indices


def _best(prompt: Prompt, settings: GenerationSettings, beams: Beams, scores: list[Tensor]) -> Result:
    times = settings.num_return_sequences
    origins = beams.best.origins[:, :times].flatten(0, 1)
    new = origins >= 0
    length = int(new.sum(1).max())
    new, origins = new[:, :length], origins[:, :length]
    sequences = beams.best.sequences[:, :times].flatten(0, 1)[:, : prompt.tokens.shape[1] + length]
    chosen = None
    if scores:
        at = origins.clamp(min=0)
        chosen = torch.stack([step[at[:, i]] for i, step in enumerate(scores[:length])], 1)
    return Result(sequences, _kept(prompt, times, new), chosen, beams.best.scores[:, :times].flatten())
