"""How layers are chosen that are computed again; what they compute is tested in `test_training`."""

from typing import Any

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs import InputError
from modeloutputs.torch.checkpointing import Checkpointing


@pytest.mark.parametrize(("every", "covered"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3])])
def test_of_so_many_layers_the_first_is_computed_again(every: int, covered: list[int]) -> None:
    checkpointing = Checkpointing(every_n_layers=every)
    assert [layer for layer in range(5) if checkpointing.covers(layer)] == covered


@pytest.mark.parametrize(("options", "expected"), [({}, False), ({"use_reentrant": True}, True)])
def test_is_not_reentrant_unless_told(options: dict[str, Any], expected: bool) -> None:
    assert Checkpointing(options).is_reentrant is expected


@pytest.mark.parametrize("every", [0, -1, 1.0, True, None])
def test_no_number_of_layers_is_refused(every: Any) -> None:
    with pytest.raises(InputError, match=f"every_n_layers is {every!r}; expected a positive integer"):
        Checkpointing(every_n_layers=every)
