"""Functions generated from source."""

import pytest

from modeloutputs.output.generated import generate


def test_a_function_has_its_name_parameters_and_closure():
    add = generate("add", ["x", "y=__one"], ["total = x + y", "return total"], {"__one": 1})
    assert (add(2), add(2, y=5), add.__name__) == (3, 7, "add")


def test_source_that_is_none_is_refused():
    with pytest.raises(SyntaxError):
        generate("wrong", [], ["return ="], {})
