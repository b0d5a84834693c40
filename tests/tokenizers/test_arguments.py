"""Options of a tokenizer call, by name."""

from typing import Any, get_type_hints

import pytest

from modeloutputs.errors import InputError, UsageError
from modeloutputs.tokenizers.arguments import CallOptions, check_count, check_options, resolve_option


def test_every_option_is_one_of_a_call(pair: Any) -> None:
    """All of them at their defaults give what none gives."""
    defaults: dict[str, Any] = {
        "padding": False, "stride": 0, "add_special_tokens": True, "is_split_into_words": False,
        "return_overflowing_tokens": False, "return_offsets_mapping": False, "return_special_tokens_mask": False,
        "return_length": False, "verbose": True,
    }  # fmt: skip
    options = {name: defaults.get(name) for name in get_type_hints(CallOptions)}
    assert pair[0]("hello", **options) == pair[0]("hello")


@pytest.mark.parametrize("name", ["paddin", "return_tensor", "maximum"])
def test_an_option_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"^calling a tokenizer has no option '{name}'"):
        check_options({name: 1})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("count", [0, -1, 1.0, "1", True])
def test_a_count_is_a_positive_integer(count: Any) -> None:
    with pytest.raises(InputError, match=r"^max_length is .*; expected a positive integer or None$"):
        check_count("max_length", count)


def test_a_strategy_has_names() -> None:
    assert resolve_option("padding", True, "off", ("first", "second")) == "first"
    assert resolve_option("padding", "second", "off", ("first", "second")) == "second"
    assert (
        resolve_option("padding", False, "off", ("first",)) is resolve_option("padding", "off", "off", ("a",)) is None
    )
    with pytest.raises(InputError, match=r"^padding is 'third'; expected True, False or one of first, second$"):
        resolve_option("padding", "third", "off", ("first", "second"))
