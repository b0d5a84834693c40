"""Generation settings, checked before anything is computed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError, nearest
from ..tokenizers import PreTrainedTokenizer
from . import setting_checks as checks

__all__ = ["DEFAULT_NEW_TOKENS", "EarlyStopping", "GenerationSettings"]

DEFAULT_NEW_TOKENS = 128
FILTERS = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""Settings that change the distribution sampled from, in the order in which they apply."""
OFF: Mapping[str, float] = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Values with which a filter changes nothing, beside None."""
BEAM_SETTINGS = ("length_penalty", "early_stopping")

EarlyStopping = bool | Literal["never"]
"""When beam search stops a row; see `modeloutputs.generation.beams.Beams`."""


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How to generate: greedy decoding by default, sampling with `do_sample`, beam search with `num_beams`.

    None stands for a setting's default. P is the number of positions of the prompt, an encoder-decoder's own.

    Raises:
        InputError: a value is out of range, or settings contradict each other.

    Examples:
        >>> settings = GenerationSettings(do_sample=True, temperature=0.7, top_p=0.9)
        >>> settings.num_beams
        1
        >>> GenerationSettings(top_p=1.9)
        Traceback (most recent call last):
        modeloutputs.errors.InputError: top_p is 1.9; expected a number above 0 and at most 1
    """

    max_new_tokens: int | None = None
    """Maximum number of new tokens; by default 128, or as many as the model has positions for."""
    max_length: int | None = None
    """Maximum number of positions, P included; `max_new_tokens` takes precedence."""
    min_new_tokens: int | None = None
    """New tokens before an end token may come."""
    min_length: int = 0
    """Positions, P included, before an end token may come; `min_new_tokens` takes precedence."""
    num_beams: int = 1
    """Beams of beam search; 1 for greedy decoding or plain sampling."""
    num_return_sequences: int = 1
    """Sequences per prompt: independent samples, or the best of the beams."""
    do_sample: bool = False
    """Sample each token from the model's distribution instead of taking the most probable one."""
    temperature: float = 1.0
    """Softmax temperature."""
    top_k: int | None = None
    """Sample from the k most probable tokens only; 0 for all of them."""
    top_p: float | None = None
    """Sample from the smallest set of tokens whose probabilities add up to this (nucleus sampling)."""
    min_p: float | None = None
    """Sample from tokens at least this many times as probable as the most probable one."""
    typical_p: float | None = None
    """Sample from the tokens whose information is nearest to the entropy and that add up to this."""
    epsilon_cutoff: float | None = None
    """Sample from tokens at least as probable as this."""
    eta_cutoff: float | None = None
    """Sample from tokens at least as probable as this, or as a share of it that falls with the entropy."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that already occur become less likely; 1 changes nothing."""
    no_repeat_ngram_size: int = 0
    """No sequence of as many tokens comes twice, prompts included; 0 for off."""
    encoder_no_repeat_ngram_size: int = 0
    """No sequence of as many tokens of the encoder's input, or of a decoder's prompt, comes again; 0 for off."""
    bad_words_ids: Sequence[Sequence[int]] | None = None
    """Sequences of tokens that do not come."""
    suppress_tokens: Sequence[int] | None = None
    """Tokens that do not come."""
    begin_suppress_tokens: Sequence[int] | None = None
    """Tokens that do not come first."""
    prefix_allowed_tokens_fn: Callable[..., Sequence[int]] | None = None
    """Maps the number of a prompt and the tokens (length,) of one of its rows to the tokens that may come next."""
    logits_processor: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None
    """Functions of tokens (rows, length) and scores (rows, vocab) that return the scores to use in their place.

    They apply one after the other, after all other changes but the filters of sampling.
    """
    stopping_criteria: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None
    """Functions of tokens (rows, length) and the last step's scores (rows, vocab), True for rows to end: bool, or
    (rows,)."""
    length_penalty: float = 1.0
    """Exponent of the length that beam scores are divided by: above 0 favours longer sequences, below 0 shorter."""
    early_stopping: EarlyStopping = False
    """When beam search stops a row; see `Beams`."""
    bos_token_id: int | None = None
    """Token that starts where there is no prompt; by default the checkpoint's, as of all special tokens."""
    decoder_start_token_id: int | None = None
    """Token that an encoder-decoder starts from; else its `bos_token_id`."""
    forced_bos_token_id: int | Sequence[int] | None = None
    """The only tokens allowed after a prompt of one token."""
    forced_eos_token_id: int | Sequence[int] | None = None
    """The only tokens allowed at the last position."""
    eos_token_id: int | Sequence[int] | None = None
    """Tokens that end a row; by default the checkpoint's, () or -1 for none."""
    pad_token_id: int | None = None
    """Token that fills a row after its end; by default the checkpoint's, else the end token.

    Where no mask is passed, it is padding in prompts too, unless it is an end token.
    """
    stop_strings: str | Sequence[str] = ()
    """Texts that end a row as soon as its new text contains one; the token that completes it is kept."""
    tokenizer: PreTrainedTokenizer | None = None
    """Decodes the new tokens in which `stop_strings` are searched."""
    generator: Any = None
    """Random generator of the framework; by default its global one."""
    use_cache: bool = True
    """Keep keys and values of what was read; without, each step reads all again, slowly, for the same tokens."""
    return_dict_in_generate: bool | None = None
    """True also returns `past_key_values`, except with beams; False returns the sequences alone."""
    output_scores: bool = False
    """Return the scores that each new token was chosen by."""
    output_hidden_states: bool | Sequence[int] = False
    """Return hidden states of all layers, or of the layers with these indices."""
    output_attentions: bool | Sequence[int] = False
    """Return attention weights of all layers, or of the layers with these indices."""

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            if getattr(self, entry.name) is None:
                object.__setattr__(self, entry.name, entry.default)
        checks.check_values(self)
        if self.early_stopping not in (True, False, "never"):
            raise InputError(f'early_stopping is {self.early_stopping!r}; expected True, False or "never"')
        self._check_sequences()
        checks.check_stop_strings(self.stop_strings)
        if self.stop_strings and self.tokenizer is None:
            raise InputError("stop_strings was passed without tokenizer, which decodes the new tokens; pass both")

    def _check_sequences(self) -> None:
        sequences, beams = self.num_return_sequences, self.num_beams
        if sequences > 1 and not self.do_sample and sequences > beams:
            raise InputError(
                f"num_return_sequences is {sequences} with num_beams={beams}: greedy decoding returns one sequence; "
                "pass do_sample=True, or as many beams"
            )
        if sequences > beams > 1:
            raise InputError(f"num_return_sequences is {sequences}, more than num_beams={beams}")

    def filters(self) -> list[tuple[str, float]]:
        """Return name and value of each setting that changes the distribution sampled from, in order of application.

        Examples:
            >>> GenerationSettings(do_sample=True, top_p=0.9, top_k=0, temperature=0.7).filters()
            [('temperature', 0.7), ('top_p', 0.9)]
        """
        values = ((name, getattr(self, name)) for name in FILTERS)
        return [(name, value) for name, value in values if value is not None and value != OFF.get(name)]

    def without_effect(self) -> list[str]:
        """Return one line for each setting that does nothing for the way of generating that the others choose.

        Examples:
            >>> GenerationSettings(top_p=0.9).without_effect()
            ['top_p only affects sampling; pass do_sample=True']
        """
        unsampled = [] if self.do_sample else [name for name, _ in self.filters()]
        changed = [name for name in BEAM_SETTINGS if getattr(self, name) != getattr(type(self), name)]
        beamless = [] if self.num_beams > 1 else changed
        return [
            *(f"{name} only affects sampling; pass do_sample=True" for name in unsampled),
            *(f"{name} only affects beam search; pass num_beams" for name in beamless),
        ]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "GenerationSettings":
        """Return the settings with these keyword arguments.

        Raises:
            InputError: an unknown option; the message suggests the nearest one.

        Examples:
            >>> GenerationSettings.of({"num_beam": 3})
            Traceback (most recent call last):
            modeloutputs.errors.InputError: generate has no option 'num_beam'; did you mean 'num_beams'?
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise InputError(f"generate has no option {name!r}{nearest(name, known)}")
        return cls(**options)
