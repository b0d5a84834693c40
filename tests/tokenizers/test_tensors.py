"""From lists of ids to arrays, and which arrays they are."""

import numpy as np
import pytest

from modeloutputs.errors import InputError
from modeloutputs.tokenizers.tensors import as_arrays, kind_of


def test_numbers_keep_their_meaning() -> None:
    arrays = as_arrays({"input_ids": [[1, 2], [3, 4]], "labels": [0.5, 1.5], "flags": [True, False]}, "np")
    assert {name: array.dtype for name, array in arrays.items()} == {
        "input_ids": np.int64,
        "labels": np.float32,
        "flags": np.int64,
    }
    assert as_arrays({"input_ids": [[], []]}, "np")["input_ids"].dtype == np.int64
    assert as_arrays({"input_ids": [1, 2]}, "np", rows=False)["input_ids"].shape == (2,)


def test_which_arrays_they_are() -> None:
    assert kind_of([[1]]) is None
    assert kind_of([]) is None
    assert kind_of(np.ones((2, 2))) == kind_of([np.ones(2)]) == "np"
    torch = pytest.importorskip("torch")
    assert kind_of(torch.ones(2)) == kind_of([torch.ones(2)]) == "pt"


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(InputError, match=r"^text holds <U1 values and cannot be an array; expected numbers$"):
        as_arrays({"input_ids": [[1]], "text": ["a"]}, "np")
    with pytest.raises(InputError, match=r"^labels has rows of different lengths and cannot be one array$"):
        as_arrays({"input_ids": [[1], [2]], "labels": [[1], [1, 2]]}, "np")
