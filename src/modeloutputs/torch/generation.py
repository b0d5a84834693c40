"""Generation: tokens that go on from a prompt, chosen one by one.

The likeliest token each time (greedy), a token drawn at random (`do_sample`), or the likeliest sequence that beam
search finds (`num_beams`); see `GenerationSettings`. Prompts of a batch may be padded on either side.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..checkpoints import atomic_path, read_json
from ..errors import InputError, nearest
from ..output import ALWAYS, ModelOutput
from ..tokenizers import TextStream
from .attention import compute_dtype, is_unmasked
from .beams import Beams, EarlyStopping
from .cache import Cache, PastKeyValues
from .inputs import check_ids
from .layers import LayerSelection
from .sampling import draw, force, keep_min_p, keep_top_k, keep_top_p, penalise_repetition
from .stack import Stack

if TYPE_CHECKING:
    from ..tokenizers import PreTrainedTokenizer

__all__ = ["GenerateOutput", "GenerationMixin", "GenerationSettings"]

DEFAULT_NEW_TOKENS = 128
GENERATION_CONFIG = "generation_config.json"
SPECIAL_TOKENS = (
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
)


class GenerateOutput(ModelOutput):
    """What `generate` returns: B rows for each prompt's `num_return_sequences`, T positions of prompt and new tokens.

    States and attentions are of all positions of `sequences`, the last token's included: they are those of one call
    over the finished sequences. A position before a row's prompt or after its end holds padding.
    """

    sequences: Int[Tensor, "batch total"] = ALWAYS
    attention_mask: Int[Tensor, "batch total"] = ALWAYS
    """1 at the tokens of prompt and continuation, the end token included, 0 at padding."""
    generated: Bool[Tensor, "batch total"] = ALWAYS
    """True at the tokens that were chosen."""
    scores: Float[Tensor, "batch new vocab"] | None = field(
        default=None, metadata={"returned_when": "output_scores=True"}
    )
    """What each new token was chosen by: logits, or log probabilities for beams, after all that changes them."""
    sequences_scores: Float[Tensor, "batch"] | None = field(default=None, metadata={"returned_when": "num_beams > 1"})
    hidden_states: tuple[Float[Tensor, "batch total hidden"] | None, ...] | None = None
    attentions: tuple[Float[Tensor, "batch heads total total"] | None, ...] | None = None
    cross_attentions: tuple[Float[Tensor, "batch heads total enc_seq"] | None, ...] | None = None
    encoder_last_hidden_state: Float[Tensor, "batch enc_seq hidden"] | None = None
    encoder_hidden_states: tuple[Float[Tensor, "batch enc_seq hidden"] | None, ...] | None = None
    encoder_attentions: tuple[Float[Tensor, "batch heads enc_seq enc_seq"] | None, ...] | None = None

    def new_tokens(self) -> list[Tensor]:
        """Return each row's new tokens, without padding."""
        return [row[new] for row, new in zip(self.sequences, self.generated, strict=True)]


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How to generate.

    Raises:
        InputError: a value out of range, or settings that contradict each other.
    """

    max_new_tokens: int | None = None
    """As many at most; by default 128, or what the model has positions for."""
    num_beams: int = 1
    num_return_sequences: int = 1
    """Sequences for each prompt: drawn, or the best of the beams."""
    do_sample: bool = False
    """Draw each token with the probability that the model gives it."""
    temperature: float = 1.0
    """What scores are divided by before drawing."""
    top_k: int | None = None
    """Draw from so many tokens at most."""
    top_p: float | None = None
    """Draw from the fewest tokens that have this probability together."""
    min_p: float | None = None
    """Draw from tokens at least so many times as probable as the most probable."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that were there before are less likely to come again."""
    length_penalty: float = 1.0
    """Above 0, beam search favours longer sequences, below 0 shorter ones."""
    early_stopping: EarlyStopping = False
    """When beam search stops; see `Beams`."""
    eos_token_id: int | Sequence[int] | None = None
    """Tokens that end a row; the checkpoint's where not passed, none for ()."""
    pad_token_id: int | None = None
    """What follows the end of a row; the checkpoint's where not passed, else the end token."""
    stop_strings: str | Sequence[str] = ()
    """Texts that end a row once it has come to hold one of them; the tokens that completed it stay."""
    tokenizer: "PreTrainedTokenizer | None" = None
    """Reads what `stop_strings` are looked for in."""
    generator: torch.Generator | None = None
    """Source of chance; the framework's global one where not passed."""
    output_scores: bool = False
    output_hidden_states: LayerSelection = False
    output_attentions: LayerSelection = False

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_return_sequences", "max_new_tokens", "top_k"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{name} is {value!r}; expected a positive integer")
        for name, most in (("top_p", 1.0), ("min_p", 1.0), ("temperature", None), ("repetition_penalty", None)):
            value = getattr(self, name)
            if value is not None and not (value > 0 and (most is None or value <= most)):
                raise InputError(f"{name} is {value!r}; expected a number above 0{'' if most is None else ' to 1'}")
        self._check_agreement()

    def _check_agreement(self) -> None:
        if self.early_stopping not in (True, False, "never"):
            raise InputError(f'early_stopping is {self.early_stopping!r}; expected True, False or "never"')
        drawn = [name for name in ("top_k", "top_p", "min_p") if getattr(self, name) is not None]
        drawn += ["temperature"] if self.temperature != 1.0 else []
        if drawn and not self.do_sample:
            raise InputError(f"{drawn[0]} changes what is drawn, and nothing is: pass do_sample=True")
        if self.num_return_sequences > 1 and not self.do_sample and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"num_return_sequences is {self.num_return_sequences} with num_beams={self.num_beams}: the likeliest "
                "token gives one sequence; pass do_sample=True, or as many beams"
            )
        if self.num_return_sequences > self.num_beams > 1:
            raise InputError(
                f"num_return_sequences is {self.num_return_sequences}, more than num_beams={self.num_beams}"
            )
        if self.stop_strings and self.tokenizer is None:
            raise InputError("stop_strings was passed without tokenizer, which reads what was generated; pass both")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "GenerationSettings":
        """Return the settings that options name.

        Raises:
            InputError: an option that there is not, with the nearest that there is.
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise InputError(f"generate has no option {name!r}{nearest(name, known)}")
        return cls(**options)


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


class GenerationMixin:
    """`generate` and `stream`, for models that return logits of the next token."""

    config: Any
    token_ids: dict[str, Any]
    """What generation_config.json says of special tokens, over what the configuration says."""

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        on_tokens: Callable[[Tensor], object] | None = None,
        **options: Any,
    ) -> GenerateOutput:
        """Return prompts and what goes on from them.

        The model should be in evaluation mode. Weights and seed decide the result: no setting is read from the
        checkpoint but its special tokens.

        Args:
            input_ids: (B, P) prompts, or what the encoder reads. An encoder-decoder's own prompt is
                `decoder_input_ids`, a start token where not passed.
            attention_mask: (B, P), 0 at padding on either side; of decoders, prompts are returned padded on the left.
            on_tokens: called with each step's tokens (rows,) as they come; not with beams.
            **options: those of `GenerationSettings`, and `encoder_hidden_states`, `encoder_attention_mask` for a
                decoder with cross-attention.

        Raises:
            InputError: an option or input that cannot be, before anything is computed.
        """
        settings, prompt = self._prepare(input_ids, attention_mask, options)
        if settings.num_beams == 1:
            return self._finish_output(prompt, settings, _sample(self, prompt, settings, on_tokens))
        if on_tokens is not None:
            raise InputError(
                "on_tokens was passed with num_beams > 1: which tokens are chosen is known at the end only"
            )
        return self._finish_output(prompt, settings, _search(self, prompt, settings))

    def stream(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, *, tokenizer: Any, **options: Any
    ) -> Iterator[str]:
        """Yield the text of what goes on from one prompt, in whole characters, as it comes; see `generate`.

        Args:
            input_ids: (1, P).
            attention_mask: (1, P).
            tokenizer: turns tokens into text.
            **options: as of `generate`, but for beams and what else is known at the end only.

        Raises:
            InputError: as in `generate`, or more than one sequence.
        """
        # Checked at once, not when the first piece is asked for.
        settings, prompt = self._prepare(input_ids, attention_mask, {**options, "tokenizer": tokenizer})
        if len(prompt.tokens) * settings.num_return_sequences != 1 or settings.num_beams != 1:
            raise InputError("stream writes one text; pass one prompt, num_beams=1 and num_return_sequences=1")
        return self._pieces(prompt, settings, TextStream(tokenizer, skip_special_tokens=True))

    def _pieces(self, prompt: Prompt, settings: GenerationSettings, text: TextStream) -> Iterator[str]:
        steps = _steps(self, prompt, settings)
        shown = prompt.tokens[0] if prompt.mask is None else prompt.tokens[0][prompt.mask[0] != 0]
        text.push(shown.tolist())  # what comes is written as it is after the prompt
        while True:
            # Gradient mode is the caller's again between two pieces.
            with torch.no_grad():
                step = next(steps, None)
            if step is None:
                break
            if piece := text.push([int(step.tokens)]):
                yield piece
        if piece := text.finish():
            yield piece

    # -- what a model says of itself ------------------------------------------------------------------------------

    def new_cache(self, batch: int, capacity: int) -> Cache | None:
        """Return an empty cache with room for `capacity` positions; None if the model keeps none."""
        stack = [module for module in cast("nn.Module", self).modules() if isinstance(module, Stack)][-1]
        weight = next(stack.parameters())
        heads, width = stack.settings.cache_shape
        return Cache.with_room(
            layers=len(stack),
            batch=batch,
            kv_heads=heads,
            head_dim=width,
            capacity=capacity,
            dtype=compute_dtype(weight),
            device=weight.device,
        )

    def decode(
        self, tokens: Tensor, mask: Tensor | None, cache: PastKeyValues | None, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, PastKeyValues | None]:
        """Return the logits (rows, vocab) of the token after these, and the cache with them.

        Args:
            tokens: (rows, length) that the cache does not hold.
            mask: (rows, past + length) or None.
            cache: of the tokens before.
            inputs: what else the model is given.
        """
        model = cast("Callable[..., Any]", self)
        output = model(
            tokens, mask, past_key_values=cache, use_cache=True, logits_to_keep=1, return_dict=True, **inputs
        )
        return output.logits[:, -1], output.past_key_values

    def replay(self, sequences: Tensor, mask: Tensor | None, inputs: Mapping[str, Any], flags: dict[str, Any]) -> Any:
        """Return what the model returns for finished sequences."""
        model = cast("Callable[..., Any]", self)
        return model(sequences, mask, use_cache=False, logits_to_keep=1, return_dict=True, **inputs, **flags)

    def prompt_tokens(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        inputs: dict[str, Any],
        settings: GenerationSettings,
    ) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        """Return the decoder's prompt, its mask, and what else the model is given."""
        if input_ids is None:
            raise InputError("input_ids was not passed; pass the tokens of a prompt, at least one")
        return input_ids, attention_mask, inputs

    def _read_more(self, folder: Path) -> None:
        path = folder / GENERATION_CONFIG
        said = read_json(path) if path.is_file() else {}
        self.token_ids = {name: said[name] for name in SPECIAL_TOKENS if said.get(name) is not None}

    def _write_more(self, folder: Path) -> None:
        if token_ids := self.__dict__.get("token_ids"):
            with atomic_path(folder / GENERATION_CONFIG) as path:
                path.write_text(json.dumps(token_ids, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _prepare(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, options: Mapping[str, Any]
    ) -> tuple[GenerationSettings, Prompt]:
        names = ("encoder_hidden_states", "encoder_attention_mask", "decoder_input_ids", "encoder_outputs")
        inputs = {name: options[name] for name in names if options.get(name) is not None}
        settings = GenerationSettings.of({name: value for name, value in options.items() if name not in names})
        tokens, mask, inputs = self.prompt_tokens(input_ids, attention_mask, inputs, settings)
        check_ids(tokens, self.config.vocab_size, "input_ids")
        if not tokens.numel():
            raise InputError(f"the prompt has shape {tuple(tokens.shape)}; expected at least one row and one token")
        if mask is not None and tuple(mask.shape) != tuple(tokens.shape):
            raise InputError(
                f"attention_mask has shape {tuple(mask.shape)}; expected {tuple(tokens.shape)}, the prompt's"
            )
        return settings, self._prompt(settings, *_padded_left(tokens, mask), inputs)

    def _prompt(
        self, settings: GenerationSettings, tokens: Tensor, mask: Tensor | None, inputs: dict[str, Any]
    ) -> Prompt:
        ends = self._special("eos_token_id") if settings.eos_token_id is None else _as_list(settings.eos_token_id)
        pads = self._special("pad_token_id") if settings.pad_token_id is None else [settings.pad_token_id]
        if settings.stop_strings and not ends and not pads and len(tokens) * settings.num_return_sequences > 1:
            raise InputError("stop_strings ends some rows before others, and nothing is to follow; pass pad_token_id")
        return Prompt(
            tokens,
            mask,
            inputs,
            self._room(settings, tokens.shape[1]),
            ends,
            (pads or [None])[0],
            self._special("forced_bos_token_id"),
            self._special("forced_eos_token_id"),
        )

    def _special(self, name: str) -> list[int]:
        """Return the special tokens of a name, from what the checkpoint says of generation, else of the model."""
        said = self.__dict__.get("token_ids", {}).get(name)
        tokens = _as_list(getattr(self.config, name, self.config.other.get(name)) if said is None else said)
        return [token for token in tokens if 0 <= token < self.config.vocab_size]

    def _room(self, settings: GenerationSettings, length: int) -> int:
        """Return how many tokens to choose at most."""
        # The last token is chosen, and read again only where its states are asked for.
        unread = 0 if settings.output_hidden_states or settings.output_attentions else 1
        limit = self.config.max_position_embeddings
        room = limit - length + unread
        if room < 1 or room < (settings.max_new_tokens or 0):
            raise InputError(
                f"a prompt of {length} and {settings.max_new_tokens or 1} new tokens exceed the model's "
                f"max_position_embeddings of {limit}; shorten the prompt, or pass max_new_tokens={max(room, 0)} or less"
            )
        return min(settings.max_new_tokens or DEFAULT_NEW_TOKENS, room)

    def _finish_output(self, prompt: Prompt, settings: GenerationSettings, result: "Result") -> GenerateOutput:
        """Put the output together, with the states and attentions asked for."""
        new = torch.arange(result.sequences.shape[1], device=result.sequences.device) >= prompt.tokens.shape[1]
        generated = new & result.kept
        mask = result.kept.to(torch.int64)
        states: dict[str, Any] = {}
        if settings.output_hidden_states or settings.output_attentions:
            each = torch.arange(len(prompt.tokens), device=mask.device).repeat_interleave(settings.num_return_sequences)
            flags = {name: getattr(settings, name) for name in ("output_hidden_states", "output_attentions")}
            output = self.replay(result.sequences, mask, _rows_of(prompt.inputs, each), flags)
            renamed = {"decoder_hidden_states": "hidden_states", "decoder_attentions": "attentions"}
            states = {renamed.get(name, name): value for name, value in output.items()}
            states = {name: value for name, value in states.items() if name in GenerateOutput.__output_fields__}
        return GenerateOutput(
            sequences=result.sequences,
            attention_mask=mask,
            generated=generated,
            scores=result.scores if settings.output_scores else None,
            sequences_scores=result.sequences_scores,
            **states,
        )


def _as_list(tokens: int | Sequence[int] | None) -> list[int]:
    if tokens is None:
        return []
    return [tokens] if isinstance(tokens, int) else [int(token) for token in tokens]


def _padded_left(tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Move padding behind prompts before them, since what is new comes behind; a mask that hides nothing is dropped."""
    if mask is None or is_unmasked(mask):
        return tokens, None
    seen = (mask != 0).long()
    if not bool(seen.any(1).all()):
        raise InputError("attention_mask hides a whole prompt; expected at least one token in each row")
    length = tokens.shape[1]
    behind = seen.flip(1).argmax(1, keepdim=True)
    places = (torch.arange(length, device=tokens.device) - behind) % length
    return tokens.gather(1, places), seen.gather(1, places)


def _rows_of(inputs: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """Return inputs for these rows of the batch."""
    return {name: _select(value, rows) for name, value in inputs.items()}


def _select(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value.index_select(0, rows)
    if isinstance(value, ModelOutput):
        return type(value)(**{name: _select(item, rows) for name, item in value.items()})
    return type(value)(_select(item, rows) for item in value) if isinstance(value, (tuple, list)) else value


# -- decoding ---------------------------------------------------------------------------------------------------------


class Decoding:
    """Rows that are being decoded: their tokens so far, and what the model keeps of them."""

    def __init__(self, model: GenerationMixin, prompt: Prompt) -> None:
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

    def logits(self) -> Tensor:
        """Return the logits (rows, vocab) of the next token, as float32 at least."""
        mask = None if self.mask is None else self.mask[:, : self.length]
        tokens = self.tokens[:, self._held : self.length]
        logits, self.cache = self.model.decode(tokens, mask, self.cache, self.inputs)
        if self.cache is not None:
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
            self.inputs = _rows_of(self.inputs, rows)


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
        if settings.temperature != 1.0:
            changes.append(lambda scores: scores / settings.temperature)
        if settings.top_k is not None:
            changes.append(partial(keep_top_k, count=settings.top_k))
        if settings.top_p is not None and settings.top_p < 1.0:
            changes.append(partial(keep_top_p, mass=settings.top_p))
        if settings.min_p is not None:
            changes.append(partial(keep_min_p, share=settings.min_p))
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
    padded = torch.nn.functional.pad(hidden, (0, tokens.shape[1] - hidden.shape[1]))
    return torch.where(padded, tokens[:, -1:], tokens)


def _ender(prompt: Prompt, settings: GenerationSettings) -> Callable[[Tensor], Tensor]:
    """Return what maps sequences (rows, length) to whether each ends with its last token (rows,)."""
    ends = torch.tensor(prompt.ends, device=prompt.tokens.device, dtype=prompt.tokens.dtype)
    stops = _as_texts(settings.stop_strings)
    # A token stands for a byte at least; what does not, like special tokens, may come up a few times.
    reach = max((len(stop.encode()) for stop in stops), default=0) + 8
    start = prompt.tokens.shape[1]

    def ended(tokens: Tensor) -> Tensor:
        last = tokens[:, -1]
        done = last == ends if len(ends) == 1 else torch.isin(last, ends)
        if stops:
            texts = settings.tokenizer.batch_decode(tokens[:, max(start, tokens.shape[1] - reach) :].tolist())  # pyright: ignore
            done = done | torch.tensor([any(stop in text for stop in stops) for text in texts], device=done.device)
        return done

    return ended


def _as_texts(stop_strings: str | Sequence[str]) -> list[str]:
    stops = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)
    return [stop for stop in stops if stop]


def _steps(model: GenerationMixin, prompt: Prompt, settings: GenerationSettings) -> Iterator[Step]:
    """Yield tokens until all rows have ended; rows that have get padding."""
    decoding = Decoding(model, prompt)
    change, ended = _scorer(prompt, settings), _ender(prompt, settings)
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
        tokens = torch.where(going, tokens, prompt.filler)
        decoding.append(tokens)
        yield Step(tokens, scores, going)
        going = going & ~ended(decoding.tokens[:, : decoding.length])
        if not bool(going.any()):
            return


def _sample(
    model: GenerationMixin,
    prompt: Prompt,
    settings: GenerationSettings,
    on_tokens: Callable[[Tensor], object] | None,
) -> Result:
    """Choose each token by its score alone."""
    tokens: list[Tensor] = []
    going: list[Tensor] = []
    scores: list[Tensor] = []
    for step in _steps(model, prompt, settings):
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


# -- beam search --------------------------------------------------------------------------------------------------------


def _search(model: GenerationMixin, prompt: Prompt, settings: GenerationSettings) -> Result:
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
