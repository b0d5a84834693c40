"""What a loop of decoding is compiled for: the settings that change what it computes, as one hashable value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..generation.beams import candidates_per_beam
from ..generation.prompt import Prompt
from ..generation.settings import EarlyStopping, GenerationSettings

__all__ = ["DecodingPlan"]

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class DecodingPlan:
    """How to decode. Positions are those of the arrays, whose prompts may be padded further on the left."""

    start: int
    """Positions of the prompts."""
    room: int
    """New positions that the arrays hold."""
    rows_per_prompt: int
    num_beams: int
    num_return_sequences: int
    do_sample: bool
    length_penalty: float
    early_stopping: EarlyStopping
    use_cache: bool
    output_scores: bool
    fill_id: int
    eos_ids: Tokens
    has_least: bool
    """Whether there is a number of positions before which no row ends."""
    forced_first: Tokens
    forced_last: Tokens
    first_choice: int
    """The position of the first token that is not forced."""
    suppressed: Tokens
    suppressed_first: Tokens
    bad_words: tuple[tuple[Tokens, ...], ...]
    """Words by length, all of one entry of one length; ends of a row are no words."""
    repetition_penalty: float
    no_repeat_ngram_size: int
    encoder_no_repeat_ngram_size: int
    filters: tuple[tuple[str, float], ...]
    processors: tuple[Any, ...]
    """Functions of tokens (rows, positions), scores (rows, vocab) and the number of positions that are filled."""

    @classmethod
    def of(cls, settings: GenerationSettings, prompt: Prompt, start: int, room: int) -> "DecodingPlan":
        """Return the plan of a prompt's generation, for arrays of `start` and `room` positions."""
        one = prompt.length == 1
        forced_first = tuple(prompt.forced_bos_ids or ()) if one else ()
        beams = settings.num_beams
        return cls(
            start=start,
            room=room,
            rows_per_prompt=settings.num_return_sequences if beams == 1 else beams,
            num_beams=beams,
            num_return_sequences=settings.num_return_sequences,
            do_sample=settings.do_sample,
            length_penalty=settings.length_penalty,
            early_stopping=settings.early_stopping,
            use_cache=settings.use_cache,
            output_scores=settings.output_scores,
            fill_id=prompt.fill_id,
            eos_ids=tuple(prompt.eos_ids),
            has_least=prompt.min_length > prompt.length,
            forced_first=forced_first,
            forced_last=tuple(prompt.forced_eos_ids or ()),
            first_choice=start + bool(forced_first),
            suppressed=tuple(settings.suppress_tokens or ()),
            suppressed_first=tuple(settings.begin_suppress_tokens or ()),
            bad_words=_by_length(settings.bad_words_ids or (), prompt.eos_ids),
            repetition_penalty=settings.repetition_penalty,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            encoder_no_repeat_ngram_size=settings.encoder_no_repeat_ngram_size,
            filters=tuple(settings.filters()) if settings.do_sample else (),
            processors=_processors(settings.logits_processor),
        )

    @property
    def kept(self) -> int:
        """Tokens that filters keep: beams sample several different continuations each, so as many remain possible."""
        return candidates_per_beam(len(self.eos_ids)) if self.num_beams > 1 else 1


def _by_length(words: Sequence[Sequence[int]], eos_ids: Sequence[int]) -> tuple[tuple[Tokens, ...], ...]:
    ends = {(token,) for token in eos_ids}
    kept = [tuple(word) for word in words if tuple(word) not in ends]
    return tuple(tuple(word for word in kept if len(word) == length) for length in sorted({len(word) for word in kept}))


def _processors(given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    return tuple(cast("Sequence[Any]", given)) if isinstance(given, Sequence) else (given,)
