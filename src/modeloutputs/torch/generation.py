"""Generation: tokens that go on from a prompt, chosen one by one.

The likeliest token each time (greedy), a token drawn at random (`do_sample`), or the likeliest sequence that beam
search finds (`num_beams`); see `GenerationSettings`. Prompts of a batch may be padded on either side.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..errors import FileFormatError, InputError
from ..files.atomic import atomic_path
from ..files.checkpoints import read_json
from ..output import ALWAYS, ModelOutput
from ..tokenizers import TextStream
from .attention import compute_dtype, is_unmasked
from .cache import Cache, PastKeyValues
from .decoding import Prompt, Result, rows_of, sample, search, steps
from .inputs import check_ids
from .settings import DEFAULT_NEW_TOKENS, GenerationSettings
from .stack import Stack

__all__ = ["GenerateOutput", "GenerationMixin"]

GENERATION_CONFIG = "generation_config.json"
SPECIAL_TOKENS = (
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
)
CROSS_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
SEQ2SEQ_INPUTS = ("decoder_input_ids", "encoder_outputs")


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
    encoder_attentions: tuple[Float[Tensor, "batch enc_heads enc_seq enc_seq"] | None, ...] | None = None

    def new_tokens(self) -> list[Tensor]:
        """Return each row's new tokens, without padding."""
        return [row[new] for row, new in zip(self.sequences, self.generated, strict=True)]


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
        if on_tokens is not None and options.get("num_beams", 1) != 1:
            raise InputError(
                "on_tokens was passed with num_beams > 1: which tokens are chosen is known at the end only"
            )
        settings, prompt = self._prepare(input_ids, attention_mask, options)
        if settings.num_beams == 1:
            return self._finish_output(prompt, settings, sample(self, prompt, settings, on_tokens))
        return self._finish_output(prompt, settings, search(self, prompt, settings))

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
        with torch.no_grad():
            settings, prompt = self._prepare(input_ids, attention_mask, {**options, "tokenizer": tokenizer})
        if len(prompt.tokens) * settings.num_return_sequences != 1 or settings.num_beams != 1:
            raise InputError("stream writes one text; pass one prompt, num_beams=1 and num_return_sequences=1")
        return self._pieces(prompt, settings, TextStream(tokenizer, skip_special_tokens=True))

    def _pieces(self, prompt: Prompt, settings: GenerationSettings, text: TextStream) -> Iterator[str]:
        coming = steps(self, prompt, settings)
        shown = prompt.tokens[0] if prompt.mask is None else prompt.tokens[0][prompt.mask[0] != 0]
        text.push(map(int, shown))  # what comes is written as it is after the prompt
        while True:
            # Gradient mode is the caller's again between two pieces.
            with torch.no_grad():
                step = next(coming, None)
            if step is None:
                break
            if piece := text.push([int(step.tokens)]):
                yield piece
        if piece := text.finish():
            yield piece

    # -- what a model says of itself ------------------------------------------------------------------------------

    def decoder_stack(self) -> Stack:
        """Return the layers that decode: the last stack, where an encoder has one too."""
        return [module for module in cast("nn.Module", self).modules() if isinstance(module, Stack)][-1]

    def new_cache(self, batch: int, capacity: int) -> Cache | None:
        """Return an empty cache with room for `capacity` positions; None if the model keeps none."""
        stack = self.decoder_stack()
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
        for name, value in self.token_ids.items():
            tokens = cast("list[Any]", value) if isinstance(value, list) else [value]
            if not all(type(token) is int for token in tokens):
                raise FileFormatError(f"{str(path)!r} has {name} {value!r}; expected the number of a token, or several")

    def _write_more(self, folder: Path) -> None:
        if token_ids := self.__dict__.get("token_ids"):
            with atomic_path(folder / GENERATION_CONFIG) as path:
                path.write_text(json.dumps(token_ids, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _prepare(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, options: Mapping[str, Any]
    ) -> tuple[GenerationSettings, Prompt]:
        names = (*CROSS_INPUTS, *SEQ2SEQ_INPUTS)
        inputs = {name: options[name] for name in names if options.get(name) is not None}
        self._check_inputs(inputs)
        settings = GenerationSettings.of({name: value for name, value in options.items() if name not in names})
        tokens, mask, inputs = self.prompt_tokens(input_ids, attention_mask, inputs, settings)
        check_ids(tokens, self.config.vocab_size, "input_ids")
        if settings.num_beams > self.config.vocab_size:
            raise InputError(
                f"num_beams is {settings.num_beams}; a first step has no more than the {self.config.vocab_size} tokens "
                "of the vocabulary to go on with"
            )
        if not tokens.numel():
            raise InputError(f"the prompt has shape {tuple(tokens.shape)}; expected at least one row and one token")
        if mask is not None and tuple(mask.shape) != tuple(tokens.shape):
            raise InputError(
                f"attention_mask has shape {tuple(mask.shape)}; expected {tuple(tokens.shape)}, the prompt's"
            )
        return settings, self._prompt(settings, *_padded_left(tokens, mask), inputs)

    def _check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Refuse what the model could only ignore, or would fail on."""
        stacks = [module for module in cast("nn.Module", self).modules() if isinstance(module, Stack)]
        crossing = CROSS_INPUTS if stacks[-1].settings.cross_attention else ()
        own = SEQ2SEQ_INPUTS if len(stacks) > 1 else crossing
        for name in inputs:
            if name not in own:
                raise InputError(
                    f"{type(self).__name__} takes no {name}; it takes {', '.join(own) or 'a prompt alone'}"
                )

    def _prompt(
        self, settings: GenerationSettings, tokens: Tensor, mask: Tensor | None, inputs: dict[str, Any]
    ) -> Prompt:
        ends = self._special("eos_token_id") if settings.eos_token_id is None else _as_list(settings.eos_token_id)
        pads = self._special("pad_token_id") if settings.pad_token_id is None else [settings.pad_token_id]
        for name, given in (("eos_token_id", ends), ("pad_token_id", pads)):
            wrong = [token for token in given if not 0 <= token < self.config.vocab_size]
            if wrong:
                raise InputError(f"{name} is {wrong[0]}; expected 0 to {self.config.vocab_size - 1}")
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

    def _finish_output(self, prompt: Prompt, settings: GenerationSettings, result: Result) -> GenerateOutput:
        """Put the output together, with the states and attentions asked for."""
        new = torch.arange(result.sequences.shape[1], device=result.sequences.device) >= prompt.tokens.shape[1]
        generated = new & result.kept
        mask = result.kept.to(torch.int64)
        states: dict[str, Any] = {}
        if settings.output_hidden_states or settings.output_attentions:
            each = torch.arange(len(prompt.tokens), device=mask.device).repeat_interleave(settings.num_return_sequences)
            flags = {name: getattr(settings, name) for name in ("output_hidden_states", "output_attentions")}
            output = self.replay(result.sequences, mask, rows_of(prompt.inputs, each), flags)
            renamed = {"decoder_hidden_states": "hidden_states", "decoder_attentions": "attentions"}
            states = {renamed.get(str(name), str(name)): value for name, value in output.items()}
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
