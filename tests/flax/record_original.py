"""Records what the Flax models of transformers 4.53.3 compute, as a few numbers of each array that they return.

Run it in an environment that has transformers 4.53.3 and Flax, which needs no more of this library than this file:

    python tests/flax/record_original.py tests/data/flax_original/numbers.json

`test_original` makes the same calls of this library's models and compares. That no weights need to be kept, both sides
draw each parameter by its path.
"""

import json
import platform
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

VOCABULARY, WIDTH, ROWS, LENGTH = 40, 16, 3, 7
SIZES: dict[str, dict[str, Any]] = {
    "Bert": {
        "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 32, "max_position_embeddings": 24,
    },
    "GPT2": {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 24},
    "Llama": {
        "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 32, "max_position_embeddings": 24,
    },
    "Bart": {
        "vocab_size": VOCABULARY, "d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
        "max_position_embeddings": 24,
    },
}  # fmt: skip
CROSSES = {"is_decoder": True, "add_cross_attention": True}


@dataclass(frozen=True)
class Recorded:
    """A model whose numbers are recorded."""

    name: str
    """The one that `tiny.CASES` has for such a model, where it has."""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def class_name(self) -> str:
        return self.name.partition(",")[0]

    @property
    def family(self) -> str:
        return next(family for family in SIZES if self.class_name.startswith(f"Flax{family}"))

    @property
    def is_seq2seq(self) -> bool:
        return self.family == "Bart" and "CausalLM" not in self.class_name

    @property
    def crosses(self) -> bool:
        return bool(self.settings.get("add_cross_attention")) or self.class_name == "FlaxBartForCausalLM"

    @property
    def keeps_cache(self) -> bool:
        return self.family in ("GPT2", "Llama") or self.class_name.endswith("CausalLM")

    @property
    def reads_first_token(self) -> bool:
        """Whether padding on the left changes the original's answer: it reads the first place, token or not."""
        read = ("Model", "ForNextSentencePrediction", "ForSequenceClassification", "ForMultipleChoice")
        return self.family == "Bert" and self.class_name.removeprefix("FlaxBert") in read

    def config(self, library: Any) -> Any:
        return getattr(library, f"{self.family}Config")(**SIZES[self.family], **self.settings)


RECORDED = (
    Recorded("FlaxBertModel"),
    Recorded("FlaxBertForMaskedLM"),
    Recorded("FlaxBertForMaskedLM, untied", {"tie_word_embeddings": False}),
    Recorded("FlaxBertForCausalLM, add_cross_attention", CROSSES),
    Recorded("FlaxBertForNextSentencePrediction"),
    Recorded("FlaxBertForSequenceClassification", {"num_labels": 3}),
    Recorded("FlaxBertForTokenClassification"),
    Recorded("FlaxBertForMultipleChoice"),
    Recorded("FlaxBertForQuestionAnswering"),
    Recorded("FlaxGPT2Model"),
    Recorded("FlaxGPT2LMHeadModel"),
    Recorded("FlaxGPT2LMHeadModel, add_cross_attention", {"add_cross_attention": True}),
    Recorded("FlaxLlamaModel"),
    Recorded("FlaxLlamaForCausalLM", {"tie_word_embeddings": True}),
    Recorded("FlaxLlamaForCausalLM, untied", {"tie_word_embeddings": False, "attention_bias": True}),
    Recorded("FlaxBartModel"),
    Recorded("FlaxBartForConditionalGeneration"),
    Recorded("FlaxBartForSequenceClassification"),
    Recorded("FlaxBartForQuestionAnswering"),
    Recorded("FlaxBartForCausalLM"),
)
BY_NAME = {case.name: case for case in RECORDED}


# -- parameters and inputs ------------------------------------------------------------------------------------------


def parameter(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of the parameter with this path, parts joined by "/"."""
    # The generator whose numbers NumPy keeps from version to version.
    drawn = np.random.RandomState(zlib.crc32(path.encode())).standard_normal(shape)
    is_scale = path.endswith(("scale", "norm/weight"))
    return (0.25 * drawn + is_scale).astype(np.float32)


def parameters(shapes: Any, path: tuple[str, ...] = ()) -> Any:
    """Return a tree of parameters for one of shapes, without those that repeat the embeddings."""
    if not hasattr(shapes, "items"):
        return parameter("/".join(path), tuple(shapes.shape))
    return {name: parameters(value, (*path, name)) for name, value in shapes.items()}


def tokens(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(3, VOCABULARY, shape).astype(np.int32)


def inputs(case: Recorded) -> dict[str, Any]:
    """Return the tokens of a call, and what else the model always reads."""
    ids = tokens((ROWS, 2, LENGTH) if "MultipleChoice" in case.name else (ROWS, LENGTH), 1)
    if case.is_seq2seq:
        ids[0, -1] = ids[1, 3] = ids[2, 4] = 2  # an end in each row, which the classifier reads
    given: dict[str, Any] = {"input_ids": ids}
    if case.crosses:
        given["encoder_hidden_states"] = np.random.RandomState(2).standard_normal((ROWS, 5, WIDTH)).astype(np.float32)
        given["encoder_attention_mask"] = np.array([[1] * 5, [1, 1, 1, 0, 0], [0, 1, 1, 1, 1]], np.int32)
    return given


def padding(shape: tuple[int, ...], on_the_left: bool) -> np.ndarray:
    """Return a mask that hides three tokens of the second row and two of the third."""
    mask = np.ones(shape, np.int32)
    mask[1, ..., -3:] = mask[2, ..., -2:] = 0
    return mask[..., ::-1].copy() if on_the_left else mask


def positions(mask: np.ndarray) -> np.ndarray:
    """Return the places of the tokens among those that are no padding."""
    return np.maximum(mask.cumsum(-1) - 1, 0).astype(np.int32)


# -- calls ------------------------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """What one call returned."""

    name: str
    output: Any
    seen: Mapping[str, np.ndarray]
    """Which tokens are no padding (rows, length), under the beginning of the names of the fields about them."""


FLAGS = {"output_hidden_states": True, "output_attentions": True}


def calls(model: Any, case: Recorded) -> Iterator[Call]:
    """Make the calls of a model, of either library."""
    given = inputs(case)
    shape = given["input_ids"].shape
    yield Call("plain", model(**given), {})
    for side in ("right", "left"):
        mask = padding(shape, side == "left")
        masked, seen = {**given, "attention_mask": mask}, {"": mask}
        if case.is_seq2seq:
            target = padding(shape, side == "left")
            masked |= {"decoder_input_ids": tokens(shape, 3), "decoder_attention_mask": target}
            seen = {"": target, "encoder_": mask}
        if side == "right":
            kinds = {"token_type_ids": tokens(shape, 4) % 2} if case.family == "Bert" else {}
            yield Call("right padding, states, attentions", model(**masked, **kinds, **FLAGS), seen)
        elif not case.reads_first_token:
            masked["position_ids"] = positions(mask)
            if case.is_seq2seq:
                masked["decoder_position_ids"] = positions(masked["decoder_attention_mask"])
            yield Call("left padding, position_ids", model(**masked), seen)
    if case.family == "Bert":
        yield Call("head_mask", model(**given, head_mask=np.array([[1, 0, 1, 1], [1, 1, 0, 0]])), {})
    if case.is_seq2seq and hasattr(model, "encode"):
        yield from _encoded_calls(model, given["input_ids"])
    elif case.keeps_cache:
        yield from _cached_calls(model, case, given)


def _cached_calls(model: Any, case: Recorded, given: Mapping[str, Any]) -> Iterator[Call]:
    given = dict(given)
    ids, room = given.pop("input_ids"), LENGTH + 2
    mask = np.ones((ROWS, room), np.int32)
    mask[1, :3] = 0
    places, past, start = positions(mask), model.init_cache(ROWS, room), 0
    for stop in (4, 5, 7):
        step = slice(start, stop)
        output = model(ids[:, step], attention_mask=mask, position_ids=places[:, step], past_key_values=past, **given)
        past, start = output["past_key_values"], stop
        yield Call(f"cache, to {stop}", output, {"": mask[:, step]})


def _encoded_calls(model: Any, ids: np.ndarray) -> Iterator[Call]:
    mask, target, room = padding(ids.shape, on_the_left=False), tokens((ROWS, 5), 3), 8
    encoded = model.encode(ids, mask, **FLAGS)
    yield Call("encode", encoded, {"": mask})
    if type(model).__name__.endswith(("SequenceClassification", "QuestionAnswering")):
        return  # their decode returns what the bare model's does
    yield Call("decode", model.decode(target, encoded, mask, **FLAGS), {})
    past, start = model.init_cache(ROWS, room, encoded), 0
    for stop in (3, 4, 5):
        step = slice(start, stop)
        output = model.decode(
            target[:, step], encoded, encoder_attention_mask=mask, past_key_values=past,
            decoder_attention_mask=np.ones((ROWS, room), np.int32),
            decoder_position_ids=np.broadcast_to(np.arange(start, stop, dtype=np.int32), (ROWS, stop - start)),
        )  # fmt: skip
        past, start = output["past_key_values"], stop
        yield Call(f"decode, cache, to {stop}", output, {})


def gradients(model: Any, case: Recorded, complete: Callable[[Any], Any] = lambda params: params) -> dict[str, Any]:
    """Return the gradients of a loss with regard to some parameters, by path.

    Args:
        model: of either library.
        case: the model's.
        complete: makes the parameters that the model takes of those that there is a gradient for.
    """
    import jax
    import jax.numpy as jnp

    given = inputs(case)
    given["attention_mask"] = padding(given["input_ids"].shape, on_the_left=False)

    def loss(params: Any) -> Any:
        scores = jax.nn.log_softmax(model(**given, params=complete(params), train=False)[0], -1)
        labels = np.arange(scores[..., 0].size).reshape(scores.shape[:-1]) % scores.shape[-1]
        chosen = jnp.take_along_axis(scores, labels[..., None], -1)[..., 0]
        # States at padding are nobody's business.
        counted = given["attention_mask"] if chosen.shape == given["attention_mask"].shape else 1
        return -(chosen * counted).sum()

    found = dict(leaves(jax.jit(jax.grad(loss))(parameters(model.params))))
    names = sorted(path for path in found if "lm_head" not in path)
    return {path: numbers(found[path]) for path in names[:: max(1, len(names) // 6)]}


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a tree and their paths."""
    if not hasattr(tree, "items"):
        yield "/".join(path), tree
        return
    for name, value in tree.items():
        yield from leaves(value, (*path, name))


# -- numbers ----------------------------------------------------------------------------------------------------------


def numbers(array: Any, seen: np.ndarray | None = None) -> list[float]:
    """Return a few numbers that any change of an array changes: sizes, a random projection, and some elements.

    Args:
        array: of any shape.
        seen: (rows, length) which tokens are no padding, or None; the others count as 0.
    """
    values = np.asarray(array, np.float64)
    if seen is not None:
        seen = seen.reshape(-1, seen.shape[-1]) != 0
        places = {4: seen[:, None, :, None], 3: seen[:, :, None]} if len(values) == len(seen) else {}
        if values.ndim in places or values.shape == seen.shape:
            values = np.where(places.get(values.ndim, seen), values, 0)
    flat = values.ravel()
    projected = flat @ np.random.RandomState(flat.size).standard_normal(flat.size) / flat.size**0.5
    elements = flat[np.linspace(0, flat.size - 1, 6).astype(int)[1:5]]
    return [round(float(value), 7) for value in (np.abs(flat).mean(), projected, *elements)]


def summary(call: Call) -> dict[str, Any]:
    """Return the class of a call's output and the numbers of its arrays."""
    found: dict[str, Any] = {"class": type(call.output).__name__}
    for name, value in call.output.items():
        if name == "past_key_values":  # laid out in another way by either library, and read by the calls that follow
            continue
        beginning = max((part for part in call.seen if name.startswith(part)), key=len, default=None)
        seen = None if beginning is None else call.seen[beginning]
        several = enumerate(value) if isinstance(value, tuple) else ((None, value),)
        found |= {name if i is None else f"{name}.{i}": numbers(array, seen) for i, array in several}
    return found


# -- generation -------------------------------------------------------------------------------------------------------


class Generation(NamedTuple):
    """A call of `generate`."""

    case: str
    options: Mapping[str, Any]
    is_padded: bool = True
    """Whether the second and the third prompt have padding on the left; that of an encoder on the right."""


GPT2, LLAMA, BART = "FlaxGPT2LMHeadModel", "FlaxLlamaForCausalLM, untied", "FlaxBartForConditionalGeneration"
BART_TOKENS = {"eos_token_id": 16, "pad_token_id": 1, "decoder_start_token_id": 2, "forced_eos_token_id": 5}
BEAMS = {"num_beams": 3, "num_return_sequences": 2}
# Without `no_repeat_ngram_size`, which raises NotImplementedError with this version of JAX.
GENERATIONS = {
    "GPT-2": Generation(GPT2, {"max_length": 13, "eos_token_id": 39, "pad_token_id": 0}),
    "GPT-2 without padding, its end for a padding token": Generation(
        GPT2, {"max_new_tokens": 8, "eos_token_id": 39, "pad_token_id": 39}, is_padded=False
    ),
    "GPT-2, least length": Generation(
        GPT2, {"max_length": 14, "eos_token_id": 39, "pad_token_id": 0, "min_length": 9}
    ),
    "Llama": Generation(LLAMA, {"max_length": 14, "eos_token_id": 9, "pad_token_id": 1}),
    "Llama, suppressed tokens": Generation(
        LLAMA,
        {"max_length": 14, "eos_token_id": 9, "pad_token_id": 1, "suppress_tokens": [5, 22],
         "begin_suppress_tokens": [16, 17]},
    ),
    "Bert as a decoder": Generation(
        "FlaxBertForCausalLM, add_cross_attention", {"max_length": 13, "eos_token_id": 35, "pad_token_id": 0}
    ),
    "BART's decoder": Generation(
        "FlaxBartForCausalLM", {"max_length": 13, "eos_token_id": 24, "pad_token_id": 1, "forced_eos_token_id": 2}
    ),
    "BART": Generation(BART, {"max_length": 9, **BART_TOKENS}),
    "BART, forced start, least length": Generation(
        BART,
        {"max_length": 12, **BART_TOKENS, "forced_bos_token_id": 39, "min_length": 6},
    ),
    "Llama, beams without an end": Generation(
        LLAMA, {"max_length": 10, "eos_token_id": 1, "pad_token_id": 1, "min_length": 9, **BEAMS}, is_padded=False
    ),
    "BART, beams without an end": Generation(
        BART,
        {"max_length": 8, **BART_TOKENS, "eos_token_id": 6, "min_length": 7, "forced_bos_token_id": 39, **BEAMS},
    ),
    "Llama, beams, early stopping": Generation(
        LLAMA,
        {"max_length": 16, "eos_token_id": 9, "pad_token_id": 1, "early_stopping": True, "length_penalty": 0.5,
         "num_beams": 3},
    ),
    "Llama, beams, another end": Generation(
        LLAMA,
        {"max_length": 16, "eos_token_id": 16, "pad_token_id": 1, "early_stopping": True, "length_penalty": 0.5,
         "num_beams": 3},
    ),
    "BART, beams": Generation(
        BART, {"max_length": 16, **BART_TOKENS, "eos_token_id": 19, "forced_eos_token_id": 19, "num_beams": 3}
    ),
    "GPT-2, beams": Generation(GPT2, {"max_length": 13, "eos_token_id": 39, "pad_token_id": 0, **BEAMS}),
    "Llama, beams, long ones": Generation(
        LLAMA,
        {"max_length": 14, "eos_token_id": 9, "pad_token_id": 1, "early_stopping": "never", "length_penalty": 2.0,
         **BEAMS},
    ),
}  # fmt: skip


def prompts(generation: Generation) -> dict[str, Any]:
    """Return the prompts of a generation and their mask."""
    ids = tokens((ROWS, 5), 5)
    mask = padding(ids.shape, "Conditional" not in generation.case)
    if not generation.is_padded:
        return {"input_ids": ids}
    return {"input_ids": np.where(mask == 0, generation.options["pad_token_id"], ids), "attention_mask": mask}


# -- the original -----------------------------------------------------------------------------------------------------


def _original(case: Recorded) -> tuple[Any, Callable[[Any], Any]]:
    """Return a model, and what makes its parameters of those that this library has."""
    import transformers

    model: Any = getattr(transformers, case.class_name)(case.config(transformers))

    def complete(params: Any) -> Any:
        if case.class_name != "FlaxLlamaForCausalLM" or not case.settings["tie_word_embeddings"]:
            return params
        # It has scores of its own whatever the configuration says.
        return {**params, "lm_head": {"kernel": params["model"]["embed_tokens"]["embedding"].T}}

    model.params = complete(parameters(model.params_shape_tree))
    return model, complete


def _generated(model: Any, generation: Generation) -> dict[str, Any]:
    found = model.generate(**prompts(generation), **generation.options)
    scores = found.get("scores")
    kept = {} if scores is None else {"scores": [round(float(score), 7) for score in scores]}
    return {"sequences": np.asarray(found.sequences).tolist(), **kept}


def main() -> None:
    """Make the models, call them and write the numbers."""
    import flax
    import jax
    import transformers

    written: dict[str, Any] = {
        "made by": "python tests/flax/record_original.py tests/data/flax_original/numbers.json",
        "with": {"Python": platform.python_version(), "NumPy": np.__version__}
        | {library.__name__: library.__version__ for library in (transformers, jax, flax)},
        "numbers": "of each array: mean of absolute values, a random projection, four elements; padding counts as 0",
        "calls": {}, "gradients": {}, "sequences": {},
    }  # fmt: skip
    models: dict[str, Any] = {}
    for case in RECORDED:
        models[case.name], complete = _original(case)
        written["calls"][case.name] = {call.name: summary(call) for call in calls(models[case.name], case)}
        written["gradients"][case.name] = gradients(models[case.name], case, complete)
    for name, generation in GENERATIONS.items():
        written["sequences"][name] = _generated(models[generation.case], generation)
    with open(sys.argv[1], "w") as file:
        file.write(_json(written))


def _json(written: Mapping[str, Any]) -> str:
    """Return a text with one array a line."""
    text = json.dumps(written, indent=1)
    parts = text.split("[\n")
    inner = [part.partition("]") for part in parts[1:]]
    return parts[0] + "".join("[" + " ".join(head.split()) + mark + rest for head, mark, rest in inner) + "\n"


if __name__ == "__main__":
    main()
