"""The 19 PyTorch classes against the facts of the documentation page."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.torch import SequenceClassifierOutput

from ..support.spec_checks import ClassesOfThePage
from ..support.spec_checks import pytest_generate_tests as pytest_generate_tests


class TestClasses(ClassesOfThePage):
    framework = FRAMEWORKS["torch"]
    count = 19


@pytest.mark.parametrize(("shape", "fits"), [((), True), ((3,), True), ((3, 1), False)])
def test_a_loss_is_one_number_or_one_for_each_part_of_the_batch(shape: tuple[int, ...], fits: bool):
    output = SequenceClassifierOutput(loss=torch.zeros(shape), logits=torch.zeros(2, 4))
    if fits:
        assert output.check() is output
    else:
        with pytest.raises(ValueError, match=r"^SequenceClassifierOutput\.loss: expected .*found f32\[3,1\]"):
            output.check()
