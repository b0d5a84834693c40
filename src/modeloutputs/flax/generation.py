"""`generate` of Flax models: greedy decoding, sampling, and beam search, as one compiled loop.

`GenerationSettings` has the options. A loop is compiled once for a model, the settings, the number of rows, and the
lengths of prompt and continuation rounded up to powers of two; further calls reuse it. In a trace it becomes part of
what is being traced.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from ..errors import InputError
from ..files.replacing import Replacement
from ..generation.config import GenerationConfig
from ..generation.loops import stream_text
from ..generation.options import resolve_settings, settings_of_config
from ..generation.prompt import ModelLimits, Prompt
from ..generation.settings import GenerationSettings
from .calling import CompiledCalls
from .decoding import Decoding, Generated
from .generate_output import FlaxGenerateOutput
from .libraries import is_traced, jax, jnp
from .plan import DecodingPlan
from .prompts import GIVEN_INPUTS, FlaxPrompt, decoder_prompt, seq2seq_prompt
from .scores import Limits
from .stepwise import FlaxDecoder, generate_stepwise

__all__ = ["FlaxGenerationMixin"]

_IN_PYTHON = ("stopping_criteria", "prefix_allowed_tokens_fn", "stop_strings")
"""Settings whose work is done in Python between two steps, so that the loop runs there too."""


class FlaxGenerationMixin(CompiledCalls):
    """`generate`, for models whose module has `next_scores`; the others refuse it."""

    is_encoder_decoder: ClassVar[bool] = False
    """Whether what it continues is not what it was given."""

    def can_generate(self) -> bool:
        """Return whether the model generates: whether it predicts next tokens."""
        return hasattr(self.module_class, "next_scores")

    @property
    def generation_config(self) -> GenerationConfig:
        """What the checkpoint's generation_config.json says, and what was set since; see `GenerationConfig`."""
        return self.__dict__.setdefault("_generation_config", GenerationConfig())

    @generation_config.setter
    def generation_config(self, config: Any) -> None:
        if not isinstance(config, GenerationConfig):
            config = GenerationConfig(**settings_of_config(config))
        self.__dict__["_generation_config"] = config

    @property
    def generation_limits(self) -> ModelLimits:
        """The model's vocabulary, positions and special tokens."""
        return ModelLimits.of(self.config, self.generation_config.token_ids())

    def generate(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        *,
        params: Any = None,
        prng_key: Any = None,
        trace: bool = True,
        on_tokens: Callable[[Any], object] | None = None,
        **options: Any,
    ) -> FlaxGenerateOutput:
        """Return prompts with their continuations.

        Of a checkpoint's generation_config.json only special tokens are used, so weights, arguments and key determine
        the result; `generation_config=folder` uses all of it.

        Args:
            input_ids: (B, P) prompts, or the encoder's input; by default a start token. An encoder-decoder's own prompt
                is `decoder_input_ids`, by default a start token.
            attention_mask: (B, P), 0 at padding on either side; by default 0 at padding tokens that are no end tokens.
                Decoders return prompts padded on the left.
            params: the parameters; the model's own where not passed.
            prng_key: key of sampling; `PRNGKey(0)` where not passed, so that pass another for each call.
            trace: False runs the loop in Python, step by step, for the same tokens.
            on_tokens: called with each step's tokens (rows,); the loop then runs in Python. Not with beams.
            **options: those of `GenerationSettings`; `generation_config`, further settings as `settings_of_config`
                takes them; and inputs:
                `encoder_hidden_states` and `encoder_attention_mask` for a decoder with cross-attention;
                `decoder_input_ids`, `decoder_attention_mask` and `encoder_outputs` for an encoder-decoder.
                A `logits_processor` is a function of tokens (rows, positions), scores (rows, vocab) and the number of
                positions that are filled, traced once.

        Raises:
            InputError: an invalid option or input; raised before anything is computed.
        """
        self._check_generates()
        input_ids, options = _without_alias(input_ids, options)
        settings, prompt, inputs = self._prepare(input_ids, attention_mask, options)
        params = self.params if params is None else params
        key = jax.random.PRNGKey(0) if prng_key is None else prng_key
        if on_tokens is not None and settings.num_beams > 1:
            raise InputError("on_tokens was passed with num_beams > 1, which only chooses tokens at the end")
        if not trace or on_tokens is not None or any(getattr(settings, name) for name in _IN_PYTHON):
            decoder = self._decoder(settings, prompt, params, key)
            generated = generate_stepwise(decoder, prompt.prompt, settings, on_tokens)
        else:
            generated = self._run(settings, prompt, params, key)
        return self._as_output(generated, prompt, settings, params, inputs)

    def stream(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        *,
        tokenizer: Any,
        params: Any = None,
        prng_key: Any = None,
        **options: Any,
    ) -> Iterator[str]:
        """Yield the text that continues one prompt, in whole characters, as it is generated; see `generate`.

        Args:
            input_ids: (1, P).
            attention_mask: (1, P).
            tokenizer: decodes the tokens.
            params: the parameters; the model's own where not passed.
            prng_key: key of sampling.
            **options: those of `generate`, except beams and several sequences.

        Raises:
            InputError: as in `generate`, or more than one sequence; raised at once, before the first piece is read.
        """
        self._check_generates()
        options = {**options, "tokenizer": tokenizer}
        settings, given, _ = self._prepare(input_ids, attention_mask, options)
        if len(given.prompt.tokens) * settings.num_return_sequences != 1 or settings.num_beams != 1:
            raise InputError("stream yields a single text; pass one prompt, num_beams=1 and num_return_sequences=1")
        params = self.params if params is None else params
        key = jax.random.PRNGKey(0) if prng_key is None else prng_key
        decoder = self._decoder(settings, given, params, key)
        return stream_text(decoder, given.prompt, settings, tokenizer)

    def _check_generates(self) -> None:
        if not self.can_generate():
            name = type(self).__name__
            raise InputError(f"{name} does not predict next tokens; load a model that does, like FlaxGPT2LMHeadModel")

    def _prepare(
        self, input_ids: Any, mask: Any, options: Mapping[str, Any]
    ) -> tuple[GenerationSettings, FlaxPrompt, dict[str, Any]]:
        given = {name: options[name] for name in GIVEN_INPUTS if options.get(name) is not None}
        settings = resolve_settings(
            {name: value for name, value in options.items() if name not in GIVEN_INPUTS},
            self.generation_config.assigned(),
        )
        self._check_inputs(given)
        find = seq2seq_prompt if self.is_encoder_decoder else decoder_prompt
        prompt = find(input_ids, mask, given, settings, self.generation_limits)
        return settings, prompt, {"input_ids": input_ids, "attention_mask": mask, **given}

    def _check_inputs(self, given: Mapping[str, Any]) -> None:
        """Refuse inputs that the model would ignore or fail on."""
        crosses = not self.is_encoder_decoder and self._crosses
        names = GIVEN_INPUTS[2:] if self.is_encoder_decoder else GIVEN_INPUTS[:2] if crosses else ()
        for name in given:
            if name not in names:
                raise InputError(
                    f"{type(self).__name__} takes no {name}; it takes {', '.join(names) or 'only a prompt'}"
                )

    @property
    def _crosses(self) -> bool:
        """Whether the model attends to an encoder's states that are passed to it."""
        return bool(self.config.add_cross_attention)

    def _decoding(self, settings: GenerationSettings, given: FlaxPrompt) -> Decoding:
        prompt, tokens = given.prompt, given.arrays.tokens
        room = prompt.max_new_tokens if is_traced(tokens) else 1 << (prompt.max_new_tokens - 1).bit_length()
        return Decoding(self, DecodingPlan.of(settings, prompt, tokens.shape[1], room))

    def _compiled_step(self, decoding: Decoding, params: Any, name: str, function: Callable[..., Any]) -> Any:
        """Return a function of this decoding as it is called: compiled once, unless calls are not."""
        if not (self.jit_calls and _all_arrays(params)):
            return function
        if (decoding.plan, name) not in self._compiled:
            self._compiled[decoding.plan, name] = jax.jit(function)
        return self._compiled[decoding.plan, name]

    def _run(self, settings: GenerationSettings, given: FlaxPrompt, params: Any, key: Any) -> Generated:
        """Generate with a compiled loop; of the result, keep the positions that were asked for."""
        prompt, decoding = given.prompt, self._decoding(settings, given)
        limits = Limits(decoding.plan.start + prompt.max_new_tokens, given.added + prompt.min_length)
        generate = self._compiled_step(decoding, params, "generate", decoding.generate)
        found = generate(params, given.arrays, limits, key)
        used = slice(given.added, given.added + prompt.total_length)
        scores = None if found.scores is None else found.scores[:, : prompt.max_new_tokens]
        return found._replace(sequences=found.sequences[:, used], attended=found.attended[:, used], scores=scores)

    def _decoder(self, settings: GenerationSettings, given: FlaxPrompt, params: Any, key: Any) -> FlaxDecoder:
        """Return what a loop in Python decodes with.

        Raises:
            InputError: the prompt is being traced.
        """
        if is_traced(given.arrays.tokens):
            asked = [name for name in _IN_PYTHON if getattr(settings, name)] or ["trace=False or on_tokens"]
            raise InputError(f"{asked[0]} was passed in a trace, where no Python runs between steps; leave it out")
        decoding = self._decoding(settings, given)
        return FlaxDecoder(decoding, settings, given, params, key, partial(self._compiled_step, decoding, params))

    def _as_output(
        self,
        found: Generated,
        given: FlaxPrompt,
        settings: GenerationSettings,
        params: Any,
        inputs: Mapping[str, Any],
    ) -> FlaxGenerateOutput:
        prompt = given.prompt
        sequences = found.sequences
        if settings.return_dict_in_generate is False:
            return cast("FlaxGenerateOutput", sequences)
        mask = found.attended.astype(jnp.int32)
        return FlaxGenerateOutput(
            sequences=sequences,
            attention_mask=mask,
            generated=found.attended & (np.arange(prompt.total_length) >= prompt.length),
            scores=found.scores,
            sequences_scores=found.sequences_scores,
            **self._states(sequences, mask, prompt, settings, params, inputs),
        )

    def _states(
        self,
        sequences: Any,
        mask: Any,
        prompt: Prompt,
        settings: GenerationSettings,
        params: Any,
        inputs: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the hidden states and attentions asked for, of one call over the finished sequences."""
        flags = {name: getattr(settings, name) for name in ("output_hidden_states", "output_attentions")}
        if not any(flags.values()):
            return {}
        times = len(sequences) // len(prompt.tokens)
        read = {
            name: jnp.repeat(jnp.asarray(inputs[name]), times, 0) for name in _BATCHED if inputs.get(name) is not None
        }
        output = self._read_finished(sequences, mask, read, inputs, params, flags)
        renamed = {"decoder_hidden_states": "hidden_states", "decoder_attentions": "attentions"}
        states = {renamed.get(str(name), str(name)): value for name, value in output.items()}
        return {name: value for name, value in states.items() if name in FlaxGenerateOutput.__output_fields__}

    def _read_finished(
        self, sequences: Any, mask: Any, read: dict[str, Any], inputs: Mapping[str, Any], params: Any, flags: Any
    ) -> Any:
        model = cast("Any", self)
        if not self.is_encoder_decoder:
            crossed = {name: read[name] for name in GIVEN_INPUTS[:2] if name in read}
            return model(sequences, mask, **crossed, params=params, **flags)
        encoder_mask = read.get("attention_mask")
        if inputs.get("encoder_outputs") is None:
            decoder = {"decoder_input_ids": sequences, "decoder_attention_mask": mask}
            return model(read["input_ids"], encoder_mask, **decoder, params=params, **flags)
        states = jnp.repeat(inputs["encoder_outputs"][0], len(sequences) // len(inputs["encoder_outputs"][0]), 0)
        return model.decode(sequences, (states,), encoder_mask, mask, params=params, **flags)

    # -- what is kept with a model ------------------------------------------------------------------------------------

    def _load_extras(self, folder: Path) -> None:
        self.generation_config = GenerationConfig.from_pretrained(folder)

    def _save_extras(self, files: Replacement) -> None:
        self.generation_config.write(files)


_BATCHED = ("input_ids", "attention_mask", "encoder_hidden_states", "encoder_attention_mask")


def _all_arrays(params: Any) -> bool:
    """Return whether all parameters are arrays or tracers: `jax.jit` takes no objects of users' own."""
    return all(isinstance(leaf, (np.ndarray, jax.Array)) for leaf in jax.tree.leaves(params))


def _without_alias(input_ids: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return prompts that were passed by the peer's name for them as `input_ids`."""
    if "inputs" not in options:
        return input_ids, options
    if input_ids is not None:
        raise InputError("input_ids and inputs were both passed; they are the same")
    return options["inputs"], {name: value for name, value in options.items() if name != "inputs"}
