"""What holds of NumPy's arrays alone."""

import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.arrays.backends import backend_named


def test_the_cpu_is_the_only_device():
    values = np.ones(2)
    assert backend_named("numpy").to_device(values, "cpu", None, non_blocking=False) is values
    with pytest.raises(InputError, match=r"^device is 'cuda'; NumPy arrays are on the cpu only$"):
        backend_named("numpy").to_device(values, "cuda", None, non_blocking=False)
