"""`generate` and `stream` of PyTorch models: greedy decoding, sampling, and beam search.

`GenerationSettings` has the options. Prompts of a batch may be padded on either side.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files.replacing import Replacement
from ..generation.config import GenerationConfig
from ..generation.loops import GenerationResult, beam_search, sample, stream_text
from ..generation.options import resolve_settings, settings_of_config
from ..generation.prompt import ModelLimits, Prompt
from ..generation.settings import GenerationSettings
from .cache import PastKeyValues, past_length
from .decoder import (
    DECODER_INPUTS,
    Decoder,
    accepted_inputs,
    check_layer_selections,
    continued_types,
    given_cache,
    select_rows,
)
from .generate_output import GenerateOutput, stacked_scores
from .inputs import check_ids
from .pretrained import call_inner
from .prompts import PromptTensors, aligned_left, check_tensors, checked_prompt, decoder_prompt, token_types

__all__ = ["GenerateOutput", "GenerationMixin", "TokenStreamer"]


class TokenStreamer(Protocol):
    """What tokens are put into as they come, like the peer's streamers."""

    def put(self, value: Tensor) -> object:
        """Take the prompts (B, P), and then each step's tokens (rows,)."""
        ...

    def end(self) -> object:
        """Learn that no more tokens come."""
        ...


class GenerationMixin:
    """`generate` and `stream`, for models that return logits of the next token."""

    config: Any
    keeps_cache: ClassVar[bool] = True
    """Whether the model takes and returns `past_key_values`."""
    is_encoder_decoder: ClassVar[bool] = False
    """Whether what it continues is not what it was given."""

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        on_tokens: Callable[[Tensor], object] | None = None,
        streamer: TokenStreamer | None = None,
        **options: Any,
    ) -> GenerateOutput:
        """Return prompts with their continuations.

        The model should be in evaluation mode. Of a checkpoint's generation_config.json only special tokens are used,
        so weights, arguments and random generator determine the result; `generation_config=folder` uses all of it.

        Args:
            input_ids: (B, P) prompts, or the encoder's input; by default a start token. An encoder-decoder's own prompt
                is `decoder_input_ids`, by default a start token.
            attention_mask: (B, P), 0 at padding on either side; by default 0 at padding tokens that are no end tokens.
                Decoders return prompts padded on the left.
            on_tokens: called with each step's tokens (rows,); not with beams.
            streamer: its `put` is called with the prompts (B, P) and then with each step's tokens (rows,), on the CPU;
                its `end` when all is done; not with beams.
            **options: those of `GenerationSettings`; `generation_config`, further settings as `settings_of_config`
                takes them; and inputs:
                `past_key_values`, a cache of the prompt's first positions;
                `inputs_embeds` (B, P, hidden) in place of `input_ids`: a decoder then returns new tokens alone, unless
                it is passed both;
                `token_type_ids` (B, P), continued with the last of them;
                `encoder_hidden_states` and `encoder_attention_mask` for a decoder with cross-attention;
                `decoder_input_ids`, `decoder_attention_mask` and `encoder_outputs` for an encoder-decoder.

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
        input_ids, options = _without_alias(input_ids, options)
        settings, prompt, inputs, device = self._prepare(input_ids, attention_mask, options)
        for name, given in (("on_tokens", on_tokens), ("streamer", streamer)):
            if given is not None and settings.num_beams > 1:
                raise InputError(f"{name} was passed with num_beams > 1, which only chooses tokens at the end")
        decoder = Decoder(self, prompt, inputs, settings, device)
        if settings.num_beams > 1:
            result = beam_search(decoder, prompt, settings)
        elif streamer is None:
            result = sample(decoder, prompt, settings, on_tokens)
        else:
            with _streaming(streamer, prompt, on_tokens) as on_step:
                result = sample(decoder, prompt, settings, on_step)
        return self._as_output(result, prompt, settings, inputs, decoder)

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

    # -- what is kept with a model ---------------------------------------------------------------------------------

    @property
    def generation_config(self) -> GenerationConfig:
        """What the checkpoint's generation_config.json says, and what was set since; see `GenerationConfig`."""
        return self.__dict__.setdefault("_generation_config", GenerationConfig())

    @generation_config.setter
    def generation_config(self, config: Any) -> None:
        if not isinstance(config, GenerationConfig):
            config = GenerationConfig(**settings_of_config(config))
        self.__dict__["_generation_config"] = config

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, past_key_values: PastKeyValues | None = None, **inputs: Any
    ) -> dict[str, Any]:
        """Return the arguments of one call of the model: the tokens that a cache does not hold, and all others.

        Not called here; libraries that put adapters into models, like peft, wrap it.

        Args:
            input_ids: (B, S) all tokens so far.
            past_key_values: of the first of them.
            **inputs: other arguments, passed on.
        """
        unread = input_ids[:, past_length(past_key_values) :]
        tokens = {"decoder_input_ids" if self.is_encoder_decoder else "input_ids": unread}
        return {**tokens, "past_key_values": past_key_values, **inputs}

    # -- hooks for models -----------------------------------------------------------------------------------------

    def call_decoder(
        self, tokens: Tensor | None, mask: Tensor | None, inputs: Mapping[str, Any], **options: Any
    ) -> Any:
        """Call the model on the decoder's tokens, for the logits of the token after them.

        Args:
            tokens: (rows, length); None where `inputs_embeds` stand in their place.
            mask: (rows, past + length) or None.
            inputs: as `prepare_prompt` returns them.
            **options: cache and output flags.
        """
        return call_inner(cast("nn.Module", self), tokens, mask, logits_to_keep=1, **inputs, **options)

    def decode_step(
        self, tokens: Tensor | None, mask: Tensor | None, cache: PastKeyValues | None, inputs: Mapping[str, Any]
    ) -> tuple[Tensor, PastKeyValues | None]:
        """Return the logits (rows, vocab) of the token after these, and the cache extended by them.

        Args:
            tokens: (rows, length) that the cache does not hold; None where `inputs_embeds` stand in their place.
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
    ) -> PromptTensors:
        """Return the decoder's prompt, its mask, and the other inputs of the model.

        Raises:
            InputError: no prompt, and no token to start from.
        """
        return decoder_prompt(input_ids, attention_mask, inputs, settings, self)

    @property
    def generation_limits(self) -> ModelLimits:
        """The model's vocabulary, positions and special tokens."""
        return ModelLimits.of(self.config, self.generation_config.token_ids())

    # -- parts ----------------------------------------------------------------------------------------------------

    def _load_extras(self, folder: Path) -> None:
        self.generation_config = GenerationConfig.from_pretrained(folder)

    def _save_extras(self, files: Replacement) -> None:
        self.generation_config.write(files)

    def _prepare(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, options: Mapping[str, Any]
    ) -> tuple[GenerationSettings, Prompt, dict[str, Any], torch.device]:
        inputs = {name: options[name] for name in DECODER_INPUTS if options.get(name) is not None}
        settings = resolve_settings(
            {name: value for name, value in options.items() if name not in DECODER_INPUTS},
            self.generation_config.assigned(),
        )
        check_tensors({"input_ids": input_ids, "attention_mask": attention_mask, **inputs})
        types = inputs.pop("token_type_ids", None)
        self._check_inputs(inputs)
        _check_generator(settings.generator)
        check_layer_selections(self, settings)
        given = self.prepare_prompt(input_ids, attention_mask, inputs, settings)
        check_ids(given.tokens, self.config.vocab_size, "input_ids")
        prompt = checked_prompt(given, settings, self.generation_limits)
        inputs = dict(given.inputs)
        if types is not None and (types := token_types(self, types, prompt.tokens.shape)) is not None:
            inputs["token_type_ids"] = types
        inputs = aligned_left(inputs, given.mask)
        if (past := inputs.pop("past_key_values", None)) is not None:
            inputs["past_key_values"] = given_cache(self, past, *prompt.tokens.shape)
        return settings, prompt, inputs, given.tokens.device

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
        decoder: Decoder,
    ) -> GenerateOutput:
        device = decoder.device
        sequences = torch.as_tensor(result.sequences[:, prompt.unseen :], device=device)
        generated = result.attended.copy()
        generated[:, : prompt.length] = False
        mask = torch.as_tensor(result.attended[:, prompt.unseen :], device=device).long()
        if settings.return_dict_in_generate is False:
            return cast("GenerateOutput", sequences)
        beam_scores = result.sequences_scores
        keeps = settings.return_dict_in_generate and settings.num_beams == 1  # with beams it is not of the best ones
        return GenerateOutput(
            sequences=sequences,
            attention_mask=mask,
            generated=torch.as_tensor(generated[:, prompt.unseen :], device=device),
            scores=stacked_scores(result, device),
            sequences_scores=None if beam_scores is None else torch.as_tensor(beam_scores, device=device),
            **self._states(sequences, mask, inputs, settings),
            past_key_values=cast("Any", decoder.cache) if keeps else None,
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
        read = {name: value for name, value in inputs.items() if name != "past_key_values"}
        if (types := read.get("token_type_ids")) is not None:
            read["token_type_ids"] = continued_types(types, sequences.shape[1] - types.shape[1])
        output = self.forward_full_sequence(sequences, mask, select_rows(read, rows), flags)
        renamed = {"decoder_hidden_states": "hidden_states", "decoder_attentions": "attentions"}
        states = {renamed.get(str(name), str(name)): value for name, value in output.items()}
        return {name: value for name, value in states.items() if name in GenerateOutput.__output_fields__}


def _without_alias(input_ids: Tensor | None, options: dict[str, Any]) -> tuple[Tensor | None, dict[str, Any]]:
    """Return prompts that were passed by the peer's name for them as `input_ids`."""
    if "inputs" not in options:
        return input_ids, options
    if input_ids is not None:
        raise InputError("input_ids and inputs were both passed; they are the same")
    return options["inputs"], {name: value for name, value in options.items() if name != "inputs"}


def _check_generator(generator: Any) -> None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise InputError(
            f"generator is a {type(generator).__name__}; expected a torch.Generator, as "
            "torch.Generator().manual_seed(seed) returns it"
        )


@contextmanager
def _streaming(
    streamer: TokenStreamer, prompt: Prompt, on_tokens: Callable[[Tensor], object] | None
) -> Generator[Callable[[Tensor], None]]:
    """Give a streamer the prompts, provide what gives it the tokens of a step, and end it, whatever happens."""

    def on_step(tokens: Tensor) -> None:
        streamer.put(tokens.cpu())
        if on_tokens is not None:
            on_tokens(tokens)

    try:
        streamer.put(torch.as_tensor(prompt.tokens[:, prompt.unseen :]))
        yield on_step
    finally:
        streamer.end()


def _without_grad(items: Iterator[str]) -> Iterator[str]:
    """Yield the items, computed without autograd; between two items the gradient mode is the caller's."""
    while True:
        with torch.no_grad():
            item = next(items, None)
        if item is None:
            return
        yield item
