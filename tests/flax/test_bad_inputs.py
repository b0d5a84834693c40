"""The table of calls that cannot be made."""

# what is imported below needs what may be absent

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

from modeloutputs.errors import ModelOutputsError

from .bad_inputs import CALLS, FILES, Bad


@pytest.mark.parametrize("bad", [*FILES, *CALLS], ids=lambda bad: bad.written)
def test_a_call_that_cannot_be_made_is_one_line_that_names_what_was_passed(bad: Bad):
    with pytest.raises(ModelOutputsError) as caught:
        bad.run()
    line = str(caught.value)
    assert bad.names in line
    assert len(line.splitlines()) == 1
