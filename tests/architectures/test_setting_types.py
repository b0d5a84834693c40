"""Values of the wrong type are refused by name, whichever setting they are for and whichever way they come."""

import dataclasses
from typing import Any

import pytest

from modeloutputs.architectures import BertConfig, Config, GPT2Config, LlamaConfig
from modeloutputs.architectures.setting_types import check_setting
from modeloutputs.errors import InputError

from .cases import Case, every_case

WRONG: dict[type, list[Any]] = {
    bool: ["yes", 1, 0, [], {}, None],
    int: ["3", 1.5, True, [], {}],
    float: ["int8", True, [], {}, float("nan"), float("inf"), -1.0, 10**400],
    str: [3, [], {}, True],
}
ALLOWING_NONE = ("output_hidden_states", "output_attentions")


@every_case
def test_every_setting_refuses_every_wrong_value(case: Case) -> None:
    for field in dataclasses.fields(case.cls):
        for kind, values in WRONG.items():
            if field.type is not kind:
                continue
            for value in values:
                if value is None and field.name in ALLOWING_NONE:
                    continue
                with pytest.raises(InputError, match=rf"\b{field.name} is ") as caught:
                    case.cls.from_dict({"model_type": case.cls.model_type, field.name: value})
                assert "\n" not in str(caught.value)
                assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("cls", "name", "value", "expected"),
    [
        (BertConfig, "hidden_act", [], "a text"),
        (BertConfig, "hidden_act", {}, "a text"),
        (BertConfig, "layer_norm_eps", None, "a number from 0"),
        (BertConfig, "layer_norm_eps", "int8", "a number from 0"),
        (BertConfig, "initializer_range", -0.1, "a number from 0"),
        (BertConfig, "is_decoder", "yes", "True or False"),
        (BertConfig, "dtype", 3, "a text or None"),
        (GPT2Config, "reorder_and_upcast_attn", "no", "True or False"),
        (LlamaConfig, "eos_token_id", "</s>", "an integer, the number of a token"),
    ],
)
def test_the_line_says_what_was_passed_and_what_was_expected(
    cls: type[Config], name: str, value: Any, expected: str
) -> None:
    with pytest.raises(InputError, match=rf"{name} is .*(expected|it must be) {expected}$"):
        cls(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("layer_norm_eps", 0), ("pad_token_id", None), ("eos_token_id", [1, 2])])
def test_values_that_fit_pass(name: str, value: Any) -> None:
    check_setting(BertConfig, name, value)
    assert getattr(BertConfig(**{name: value}), name) == value


def test_output_flags_may_be_none_as_in_the_peers_files() -> None:
    config = BertConfig.from_dict({"output_attentions": None, "output_hidden_states": None})
    assert (config.output_attentions, config.output_hidden_states) == (False, False)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(InputError, match=r"^BertConfig\.hidden_act is \[0, 0, .*\.\.\.; expected a text$"):
        BertConfig.from_dict({"hidden_act": [0] * 1000})


def test_assigning_is_held_to_the_same() -> None:
    config = BertConfig()
    with pytest.raises(InputError, match=r"^BertConfig\.use_cache is 'yes'; expected True or False$"):
        config.use_cache = "yes"
    assert config == BertConfig()


def test_settings_that_a_subclass_adds_are_held_to_their_types() -> None:
    @dataclasses.dataclass(kw_only=True)
    class Wide(BertConfig):
        factor: float = 1.0
        free: Any = None
        named: "int" = 3

    assert Wide(factor=2, free=[], named="x").factor == 2
    with pytest.raises(InputError, match=r"^Wide\.factor is 'x'; expected a number from 0$"):
        Wide(factor="x")
