"""pad: the value and the side of padding, and the lengths to pad to."""

import math
import re
from typing import Any

import numpy as np
import pytest

from modeloutputs import (
    InputError,
    concat,
    pad,
)

from ..support.batches import (
    Case,
    cases,
    make,
    of_rows,
    refused,
    scored,
    users_output,
)
from ..support.needs import needs_torch


def test_padding_is_zero_false_or_the_given_value():
    parts = [scored(1, 1), scored(1, 2)]
    joined = concat(parts)
    assert joined.logits[0, 1].tolist() == [0, 0]
    assert joined.ids[0, 1] == 0
    assert joined.kept.tolist() == [[True, False], [True, True]]
    said = concat(parts, padding={"ids": -100, "logits": -math.inf}, side="left")
    assert said.ids[0].tolist() == [-100, parts[0].ids[0, 0]]
    assert said.logits[0, 0].tolist() == [-math.inf] * 2
    assert said.kept[0].tolist() == [False, True]
    assert pad(parts[0].replace(kept=None), seq=3, padding=7).ids[0, 1:].tolist() == [7, 7]


@pytest.mark.parametrize("case", [case for case in cases() if "QuestionAnswering" in case.id])
def test_no_answer_begins_or_ends_in_padding(case: Case):
    parts = [make(case, batch=1, seq=n, seed=n) for n in (2, 5)]
    for joined in (concat(parts), pad(parts[0], seq=5)):
        for name in ("start_logits", "end_logits"):
            logits = np.asarray(joined[name])[0]
            assert logits[2:].tolist() == [-math.inf] * 3
            assert np.array_equal(logits[:2], np.asarray(parts[0][name])[0])
    assert np.asarray(concat(parts, padding=0).start_logits)[0, 2:].tolist() == [0, 0, 0]
    by_field = concat(parts, padding={"end_logits": 1})
    assert np.asarray(by_field.end_logits)[0, 2:].tolist() == [1, 1, 1]
    assert np.asarray(by_field.start_logits)[0, 2:].tolist() == [-math.inf] * 3


@pytest.mark.parametrize(
    ("field", "padding"), [("ids", -math.inf), ("ids", math.nan), ("ids", 0.5), ("ids", 2**64), ("kept", -100)]
)
def test_padding_that_a_dtype_cannot_represent_is_refused(field: str, padding: float):
    message = f"{field} is .*, which cannot hold a padding of {padding}; pass padding={{'{field}': ...}}$"
    with pytest.raises(InputError, match=message):
        pad(scored(1, 2), seq=3, padding={field: padding})
    with pytest.raises(InputError, match=message):
        concat([scored(1, 2), scored(1, 3)], padding={field: padding})
    assert concat([scored(1, 2)] * 2, padding={field: padding}).ids.shape == (2, 2)  # nothing is padded


@needs_torch
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3fnuz"])
def test_types_without_infinity_need_a_padding_value(dtype: str):
    output = of_rows(make(("QuestionAnsweringModelOutput", "torch"))).to(dtype)
    for each in (output, output.numpy()):
        refused(
            InputError,
            r"^start_logits is f8_\w+\[2,3\], which cannot hold a padding of -inf; pass padding=\{'start_logits': ...",
            lambda each=each: pad(each, seq=5),
        )
        assert pad(each, seq=5, padding=-8).start_logits.shape == (2, 5)


def test_invalid_padding_is_refused():
    for call in (lambda **k: concat([scored(1, 2)], **k), lambda **k: pad(scored(1, 2), seq=3, **k)):
        refused(
            InputError,
            "^padding names 'logit', which is not a field; did you mean 'logits'[?]$",
            lambda call=call: call(padding={"logit": 1}),
        )
        for padding in ("a", [1], {"ids": None}, np.ones(2)):
            refused(
                InputError,
                "^padding is .*; expected a number, or one by field$",
                lambda call=call, padding=padding: call(padding=padding),
            )
    inner = concat([users_output(1, 2), users_output(1, 3)], padding={"points": 7.0})
    assert inner.inner.points[0, 2] == 7


# -- sides and lengths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["up", None, 1, {"past": "up"}, {"past": ["left"]}, ["left"]])
def test_an_invalid_side_is_refused(side: Any):
    message = f"^side is {re.escape(repr(side))}; expected 'left' or 'right', or one of them by axis name$"
    refused(InputError, message, lambda: concat([scored(1, 2)], side=side))
    refused(InputError, message, lambda: pad(scored(1, 2), side=side, seq=3))


@pytest.mark.parametrize(
    ("name", "hint"), [("pats", "; did you mean 'past'[?]"), ("hidden", "; there are enc_seq, past, seq, total")]
)
def test_an_axis_without_a_side_is_refused(name: str, hint: str):
    refused(
        InputError,
        f"^side names '{name}', which is not an axis with a choice of side{hint}$",
        lambda: concat([scored(1, 2)], side={name: "left"}),
    )


PADS: dict[str, tuple[dict[str, Any], str]] = {
    "shorter": ({"seq": 1}, "seq is 2 long, and cannot be padded to 1"),
    "misspelt": ({"sec": 5}, "Scored has no axis 'sec' that can be padded; did you mean 'seq'?"),
    "rows": ({"batch": 5}, "Scored has no axis 'batch' that can be padded; there are seq"),
    "labels": ({"labels": 5}, "Scored has no axis 'labels' that can be padded; there are seq"),
    "absent": ({"enc_seq": 5}, "Scored has no axis 'enc_seq' that can be padded; did you mean 'seq'?"),
    "float": ({"seq": 4.0}, "seq is 4.0; expected the length to pad to"),
    "None": ({"seq": None}, "seq is None; expected the length to pad to"),
}


@pytest.mark.parametrize("case", PADS)
def test_invalid_lengths_are_refused(case: str):
    lengths, message = PADS[case]
    refused(InputError, f"^{re.escape(message)}", lambda: pad(scored(3, 2), **lengths))
