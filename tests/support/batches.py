"""Outputs as batches: random ones of every class, one with losses, one of a user; comparisons of outputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from jaxtyping import Bool, Float, Int

from modeloutputs import (
    ALWAYS,
    ModelOutput,
)
from modeloutputs.output.contract import field_contracts

from .needs import needs
from .random_outputs import array, class_named, framework_of, full
from .spec_checks import PAGE

__all__ = [
    "DISTINCT",
    "OTHER",
    "REPRESENTATIVES",
    "SMALL",
    "Array",
    "Case",
    "Inner",
    "Scored",
    "UsersOutput",
    "axes_by_size",
    "cases",
    "check_where_possible",
    "each_side",
    "every_class",
    "every_class_on_each_side",
    "like",
    "make",
    "of_rows",
    "prompt_masks",
    "prompts",
    "refused",
    "row_axis",
    "scored",
    "tokens",
    "users_output",
]


Array = np.ndarray[Any, Any]

Case = tuple[str, str]
"""The name of a class, and the framework of its arrays."""


REPRESENTATIVES = {
    "torch": (
        "BaseModelOutputWithPooling",
        "CausalLMOutputWithPast",
        "MultipleChoiceModelOutput",
        "NextSentencePredictorOutput",
        "QuestionAnsweringModelOutput",
        "Seq2SeqLMOutput",
        "SequenceClassifierOutput",
        "TokenClassifierOutput",
    ),
    "tensorflow": (
        "TFBaseModelOutputWithPast",
        "TFBaseModelOutputWithPooling",
        "TFMultipleChoiceModelOutput",
        "TFNextSentencePredictorOutput",
        "TFQuestionAnsweringModelOutput",
        "TFSeq2SeqLMOutput",
        "TFSeq2SeqSequenceClassifierOutput",
        "TFTokenClassifierOutput",
    ),
    "jax": (
        "FlaxBaseModelOutputWithPast",
        "FlaxBaseModelOutputWithPooling",
        "FlaxCausalLMOutputWithCrossAttentions",
        "FlaxMultipleChoiceModelOutput",
        "FlaxNextSentencePredictorOutput",
        "FlaxQuestionAnsweringModelOutput",
        "FlaxSeq2SeqModelOutput",
        "FlaxSequenceClassifierOutput",
        "FlaxTokenClassifierOutput",
    ),
}
"""Classes of each framework in which every layout of a field occurs; `test_operations` holds that they do."""


def cases() -> Iterator[Any]:
    """Give every class with NumPy's arrays, and the representatives with their own framework's."""
    for framework, classes in PAGE.items():
        for name in classes:
            for kind in (framework, "numpy"):
                if kind == "numpy" or name in REPRESENTATIVES[framework]:
                    yield pytest.param((name, kind), id=f"{name}-{kind}", marks=needs(framework))


every_class = pytest.mark.parametrize("case", list(cases()))

each_side = pytest.mark.parametrize("side", ["left", "right"])

every_class_on_each_side = pytest.mark.parametrize(
    ("case", "side"),
    [
        pytest.param(*case.values, side, id=f"{case.id}-{side}", marks=case.marks)
        for case in cases()
        for side in ("left", "right")
        if case.id.endswith("numpy") or side == "left"
    ],
)
"""The sides differ above the frameworks' operations: each framework's own arrays are padded on the left only."""

SMALL = {"heads": 2, "enc_heads": 3, "kv_heads": 2, "head_dim": 3, "hidden": 4, "vocab": 5, "labels": 3, "choices": 2}


def make(case: Case, **settings: Any) -> Any:
    return full(class_named(case[0]), case[1], **settings)


def like(values: Any, kind: str) -> Any:
    return array(np.asarray(values), kind)


def tokens(rows: int, seq: int, kind: str, seed: int = 0, **settings: Any) -> Any:
    prefix = {"torch": "", "jax": "Flax", "tensorflow": "TF"}[kind]
    return of_rows(make((f"{prefix}TokenClassifierOutput", kind), batch=rows, seq=seq, seed=seed, **SMALL, **settings))


# -- comparing --------------------------------------------------------------------------------------------------------


def of_rows(output: Any) -> Any:
    """Return the output without a loss, unless that has one number for each row."""
    axes = {contract.name: contract.axes for contract in field_contracts(type(output))}
    return output.copy() if axes.get("loss", "(batch)") == "(batch)" else output.replace(loss=None)


def check_where_possible(case: Case, *outputs: Any) -> None:
    """Check outputs whose arrays are of the framework of their class."""
    if case[1] == framework_of(case[0]).name:
        for output in outputs:
            output.check()


def refused(error: type[Exception], message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


# -- sizes by which axes are told apart -------------------------------------------------------------------------------

# No two axes are of one length, so that an array's shape says which it has. 1 and 2 stand in annotations themselves.
DISTINCT = {
    "heads": 4,
    "enc_heads": 6,
    "kv_heads": 8,
    "head_dim": 9,
    "hidden": 10,
    "vocab": 12,
    "labels": 13,
    "choices": 14,
    "batch": 3,
    "seq": 5,
    "past": 7,
    "enc_seq": 11,
    "max_length": 15,
    "n": 16,
}

OTHER = {**DISTINCT, "batch": 5, "seq": 3, "past": 17, "enc_seq": 7, "max_length": 19, "n": 18}


def axes_by_size(array: Array, sizes: Mapping[str, int]) -> list[str]:
    """Tell an array's axes from its shape alone."""
    names = {size: name for name, size in sizes.items()}
    names |= {sizes["batch"] * sizes["choices"]: "batch*choices", 1: "1", 2: "2"}
    return [names[size] for size in array.shape]


def row_axis(names: Sequence[str]) -> int | None:
    return next((axis for axis, name in enumerate(names) if name.startswith("batch")), None)


# -- prompts of several lengths ---------------------------------------------------------------------------------------

LENGTHS = [(3, 2), (5, 4), (1, 3), (5, 1)]
"""Of the sequence and of the encoder's, of each part."""


def prompts(case: Case) -> list[Any]:
    """Return outputs of first calls, each of one row: every position is computed in it, and a cache has no more."""
    return [
        of_rows(make(case, layers=1, batch=1, seq=n, past=n, max_length=n, enc_seq=m, seed=i, **SMALL))
        for i, (n, m) in enumerate(LENGTHS)
    ]


def prompt_masks(case: Case, side: str) -> tuple[Any, Any]:
    """Return the masks of the positions and of the encoder's."""
    found: list[Any] = []
    for lengths in zip(*LENGTHS, strict=True):
        place = np.arange(max(lengths))
        rows = [place < n if side == "right" else place >= max(lengths) - n for n in lengths]
        found.append(np.array(rows, np.int64))
    if "MultipleChoice" in case[0]:
        found[0] = np.stack([found[0]] * SMALL["choices"], 1)
        found[0][1, 0, 2] = 0  # one choice of a row is shorter than the other
    return found[0], found[1]


# -- classes of users -------------------------------------------------------------------------------------------------


class Scored(ModelOutput):
    loss: Float[Array, ""] | Float[Array, "parts"] | None = None
    logits: Float[Array, "batch seq labels"] = ALWAYS
    ids: Int[Array, "batch seq"] | None = None
    kept: Bool[Array, "batch seq"] | None = None
    mode: str | None = None


def scored(*shape: int, seed: int = 0, **fields: Any) -> Scored:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((*shape, 2), dtype=np.float32)
    return Scored(logits=logits, ids=rng.integers(1, 9, shape), kept=np.ones(shape, bool), **fields)


class Inner(ModelOutput):
    points: Float[Array, "batch seq"] = ALWAYS


class UsersOutput(ModelOutput):
    boxes: Float[Array, "batch boxes 4"] = ALWAYS
    frames: list[Float[Array, "batch seq"]] | None = None
    named: dict[str, Float[Array, "seq batch"]] | None = None
    inner: Inner | None = None
    rest: Float[Array, "batch seq ..."] | None = None
    any_rank: Float[Array, "batch *sizes"] | None = None
    pairs: Float[Array, "batch*2 hidden"] | None = None
    both: Float[Array, "batch seq"] | Float[Array, "batch"] | None = None
    mode: str = "mean"
    settings: dict[str, Any] | None = None


def users_output(rows: int, seq: int, seed: int = 0, **changes: Any) -> UsersOutput:
    rng = np.random.default_rng(seed)
    return UsersOutput(
        boxes=rng.random((rows, 5, 4)),
        frames=[rng.random((rows, seq)), rng.random((rows, seq))],
        named={"a": rng.random((seq, rows)), "b": rng.random((seq, rows))},
        inner=Inner(points=rng.random((rows, seq))),
        rest=rng.random((rows, seq, 2, 3)),
        any_rank=rng.random((rows, 2, 2)),
        pairs=rng.random((rows * 2, 3)),
        both=rng.random(rows),
        settings={"top": 3, "names": ("x", None)},
        **changes,
    )
