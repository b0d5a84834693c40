"""`generate` and `stream` of PyTorch models: greedy decoding, sampling, and beam search.

`GenerationSettings` has the options. Prompts of a batch may be padded on either side.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError
from ..generation.loops import GenerationResult, beam_search, sample, stream_text
from ..generation.prompt import ModelLimits, Prompt
from ..generation.settings import GenerationSettings
from ..generation.special_tokens import read_special_tokens, write_special_tokens
from ..output import ALWAYS, ModelOutput
from .cache import PastKeyValues
from .decoder import CROSS_INPUTS, SEQ2SEQ_INPUTS, Decoder, accepted_inputs, check_layer_selections, select_rows
from .inputs import check_ids
from .pretrained import call_inner

__all__ = ["GenerateOutput", "GenerationMixin"]


class GenerateOutput(ModelOutput):
    """Output of `generate`: `num_return_sequences` rows per prompt, `total` positions of prompt and new tokens.

    Hidden states and attentions are those of one call over the finished sequences, the last token included. Positions
    before a row's prompt and after its end are padding.
    """

    sequences: Int[Tensor, "batch total"] = ALWAYS
    attention_mask: Int[Tensor, "batch total"] = ALWAYS
    """1 at the tokens of prompt and continuation, the end token included, 0 at padding."""
    generated: Bool[Tensor, "batch total"] = ALWAYS
    """True at new tokens."""
    scores: Float[Tensor, "batch new vocab"] | None = field(
        default=None, metadata={"returned_when": "output_scores=True"}
    )
    """Scores that each new token was chosen by, after penalties and filters: logits, or log probabilities for beams."""
    sequences_scores: Float[Tensor, "batch"] | None = field(default=None, metadata={"returned_when": "num_beams > 1"})
    hidden_states: tuple[Float[Tensor, "batch total hidden"] | None, ...] | None = None
    attentions: tuple[Float[Tensor, "batch heads total total"] | None, ...] | None = None
    cross_attentions: tuple[Float[Tensor, "batch heads total enc_seq"] | None, ...] | None = None
    encoder_last_hidden_state: Float[Tensor, "batch enc_seq hidden"] | None = None
    encoder_hidden_states: tuple[Float[Tensor, "batch enc_seq hidden"] | None, ...] | None = None
    encoder_attentions: tuple[Float[Tensor, "batch enc_heads enc_seq enc_seq"] | None, ...] | None = None

    def new_tokens(self) -> list[Tensor]:
        """Return each row's new tokens, without padding.

        Examples:
            >>> generated = torch.tensor([[False, True, True], [False, True, False]])
            >>> sequences = torch.tensor([[1, 5, 6], [2, 7, 0]])
            >>> GenerateOutput(sequences=sequences, attention_mask=sequences != 0, generated=generated).new_tokens()
            [tensor([5, 6]), tensor([7])]
        """
        return [row[new] for row, new in zip(self.sequences, self.generated, strict=True)]


class GenerationMixin:
    """`generate` and `stream`, for models that return logits of the next token."""

    config: Any
    token_ids: dict[str, Any]
    """Special tokens from generation_config.json; they take precedence over the configuration's."""
    keeps_cache: ClassVar[bool] = True
    """Whether the model takes and returns `past_key_values`."""

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        on_tokens: Callable[[Tensor], object] | None = None,
        **options: Any,
    ) -> GenerateOutput:
        """Return prompts with their continuations.

        The model should be in evaluation mode. Of a checkpoint's generation_config.json only special tokens are read,
        so weights, arguments and random generator determine the result.

        Args:
            input_ids: (B, P) prompts, or the encoder's input. An encoder-decoder's own prompt is `decoder_input_ids`,
                by default a start token.
            attention_mask: (B, P), 0 at padding on either side. Decoders return prompts padded on the left.
            on_tokens: called with each step's tokens (rows,); not with beams.
            **options: those of `GenerationSettings`, and `encoder_hidden_states` and `encoder_attention_mask` for a
                decoder with cross-attention.

        Raises:
            InputError: an invalid option or input; raised before anything is computed.

        Examples:
            >>> from modeloutputs.torch import GPT2Config, GPT2LMHeadModel
            >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2, eos_token_id=7)).eval()
            >>> output = model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=4, eos_token_id=())
            >>> output.sequences.shape
            torch.Size([1, 7])
            >>> output.generated.tolist()
            [[False, False, False, True, True, True, True]]
        """
        if on_tokens is not None and options.get("num_beams", 1) != 1:
            raise InputError("on_tokens was passed with num_beams > 1, which only chooses tokens at the end")
        settings, prompt, inputs, device = self._prepare(input_ids, attention_mask, options)
        decoder = Decoder(self, prompt, inputs, settings, device)
        if settings.num_beams == 1:
            result = sample(decoder, prompt, settings, on_tokens)
        else:
            result = beam_search(decoder, prompt, settings)
        return self._as_output(result, prompt, settings, inputs, device)

    def stream(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, *, tokenizer: Any, **options: Any
    ) -> Iterator[str]:
        """Yield the text that continues one prompt, in whole characters, as it is generated; see `generate`.

        Args:
            input_ids: (1, P).
            attention_mask: (1, P).
            tokenizer: decodes the tokens.
            **options: those of `generate`, except beams and several sequences.

        Raises:
            InputError: as in `generate`, or more than one sequence; raised at once, before the first piece is read.

        Examples:
            >>> for piece in model.stream(ids, tokenizer=tokenizer, max_new_tokens=20):  # doctest: +SKIP
            ...     print(piece, end="", flush=True)
        """
        with torch.no_grad():
            settings, prompt, inputs, device = self._prepare(
                input_ids, attention_mask, {**options, "tokenizer": tokenizer}
            )
        if len(prompt.tokens) * settings.num_return_sequences != 1 or settings.num_beams != 1:
            raise InputError("stream yields a single text; pass one prompt, num_beams=1 and num_return_sequences=1")

        def pieces() -> Iterator[str]:
            decoder = Decoder(self, prompt, inputs, settings, device)
            yield from stream_text(decoder, prompt, settings, tokenizer)

        return _without_grad(pieces())

    # -- what libraries of adapters ask of models that generate --------------------------------------------------------

    generation_config: Any = None
    """Not read: `generate` takes its settings as arguments, and special tokens from the configuration."""

    def prepare_inputs_for_generation(self, input_ids: Tensor, **inputs: Any) -> dict[str, Any]:
        """Return the arguments of one call of the model.

        Not called here; libraries that put adapters into models, like peft, wrap it.
        """
        return {"input_ids": input_ids, **inputs}

    # -- hooks for models -----------------------------------------------------------------------------------------

    def call_decoder(self, tokens: Tensor, mask: Tensor | None, inputs: Mapping[str, Any], **options: Any) -> Any:
        """Call the model on the decoder's tokens, for the logits of the token after them.

        Args:
            tokens: (rows, length).
            mask: (rows, past + length) or None.
            inputs: as `prepare_prompt` returns them.
            **options: cache and output flags.
        """
        return call_inner(cast("nn.Module", self), tokens, mask, logits_to_keep=1, **inputs, **options)

    def decode_step(
        self, tokens: Tensor, mask: Tensor | None, cache: PastKeyValues | None, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, PastKeyValues | None]:
        """Return the logits (rows, vocab) of the token after these, and the cache extended by them.

        Args:
            tokens: (rows, length) that the cache does not hold.
            mask: (rows, past + length) or None.
            cache: of the tokens before.
            inputs: as `prepare_prompt` returns them.
        """
        if not self.keeps_cache:
            return self.call_decoder(tokens, mask, inputs).logits[:, -1], None
        output = self.call_decoder(tokens, mask, inputs, past_key_values=cache, use_cache=True)
        return output.logits[:, -1], output.past_key_values

    def forward_full_sequence(
        self, sequences: Tensor, mask: Tensor | None, inputs: Mapping[str, Any], flags: dict[str, Any]
    ) -> Any:
        """Return the model's output for finished sequences (rows, length), with these output flags."""
        options = {"use_cache": False, **flags} if self.keeps_cache else flags
        return self.call_decoder(sequences, mask, inputs, **options)

    def prepare_prompt(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        inputs: dict[str, Any],
        settings: GenerationSettings,
    ) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        """Return the decoder's prompt (B, P), its mask, and the other inputs of the model.

        Raises:
            InputError: no prompt.
        """
        if input_ids is None:
            raise InputError("input_ids was not passed; pass the tokens of a prompt, at least one")
        return input_ids, attention_mask, inputs

    @property
    def generation_limits(self) -> ModelLimits:
        """The model's vocabulary, positions and special tokens."""
        return ModelLimits.of(self.config, self.__dict__.get("token_ids", {}))

    # -- parts ----------------------------------------------------------------------------------------------------

    def _load_extras(self, folder: Path) -> None:
        self.token_ids = read_special_tokens(folder)

    def _save_extras(self, folder: Path) -> None:
        write_special_tokens(folder, self.__dict__.get("token_ids", {}))

    def _prepare(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, options: Mapping[str, Any]
    ) -> tuple[GenerationSettings, Prompt, dict[str, Any], torch.device]:
        names = (*CROSS_INPUTS, *SEQ2SEQ_INPUTS)
        inputs = {name: options[name] for name in names if options.get(name) is not None}
        self._check_inputs(inputs)
        settings = GenerationSettings.of({name: value for name, value in options.items() if name not in names})
        check_layer_selections(self, settings)
        tokens, mask, inputs = self.prepare_prompt(input_ids, attention_mask, inputs, settings)
        check_ids(tokens, self.config.vocab_size, "input_ids")
        prompt = Prompt.of(_to_int64(tokens), _to_bool(mask), settings, self.generation_limits)
        return settings, prompt, inputs, tokens.device

    def _check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Refuse inputs that the model would ignore or fail on."""
        accepted = accepted_inputs(self)
        for name in inputs:
            if name not in accepted:
                raise InputError(
                    f"{type(self).__name__} takes no {name}; it takes {', '.join(accepted) or 'only a prompt'}"
                )

    def _as_output(
        self,
        result: GenerationResult[Tensor],
        prompt: Prompt,
        settings: GenerationSettings,
        inputs: Mapping[str, Any],
        device: torch.device,
    ) -> GenerateOutput:
        sequences = torch.as_tensor(result.sequences, device=device)
        generated = result.attended.copy()
        generated[:, : prompt.length] = False
        mask = torch.as_tensor(result.attended, device=device).long()
        beam_scores = result.sequences_scores
        return GenerateOutput(
            sequences=sequences,
            attention_mask=mask,
            generated=torch.as_tensor(generated, device=device),
            scores=_stack_scores(result, device),
            sequences_scores=None if beam_scores is None else torch.as_tensor(beam_scores, device=device),
            **self._states(sequences, mask, inputs, settings),
        )

    def _states(
        self, sequences: Tensor, mask: Tensor, inputs: Mapping[str, Any], settings: GenerationSettings
    ) -> dict[str, Any]:
        """Return the hidden states and attentions asked for."""
        flags = {name: getattr(settings, name) for name in ("output_hidden_states", "output_attentions")}
        if not any(flags.values()):
            return {}
        times = settings.num_return_sequences
        rows = torch.arange(len(sequences) // times, device=mask.device).repeat_interleave(times)
        output = self.forward_full_sequence(sequences, mask, select_rows(dict(inputs), rows), flags)
        renamed = {"decoder_hidden_states": "hidden_states", "decoder_attentions": "attentions"}
        states = {renamed.get(str(name), str(name)): value for name, value in output.items()}
        return {name: value for name, value in states.items() if name in GenerateOutput.__output_fields__}


def _to_int64(tokens: Tensor) -> NDArray[np.int64]:
    return tokens.to("cpu", torch.int64).numpy()


def _to_bool(mask: Tensor | None) -> NDArray[np.bool_] | None:
    return None if mask is None else (mask != 0).cpu().numpy()


def _stack_scores(result: GenerationResult[Tensor], device: torch.device) -> Tensor | None:
    """Return the scores (rows, new, vocab) of each sequence's tokens; None if they were not asked for."""
    if not result.step_scores:
        return None
    if result.score_rows is None:
        return torch.stack(result.step_scores, 1)
    rows = torch.as_tensor(result.score_rows, device=device)
    return torch.stack([scores[rows[:, i]] for i, scores in enumerate(result.step_scores)], 1)


def _without_grad(items: Iterator[str]) -> Iterator[str]:
    """Yield the items, computed without autograd; between two items the gradient mode is the caller's."""
    while True:
        with torch.no_grad():
            item = next(items, None)
        if item is None:
            return
        yield item
