"""Options of a call: from keywords and configurations of every kind, and what is refused, let through or warned of."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.errors import InputError
from modeloutputs.generation.config import GenerationConfig
from modeloutputs.generation.options import resolve_settings, settings_of_config
from modeloutputs.generation.setting_names import REFUSED
from modeloutputs.generation.settings import GenerationSettings

SETTINGS = {"num_beams": 3, "max_length": 9, "no_repeat_ngram_size": 2}


class Foreign:
    """A configuration of another library."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def to_dict(self) -> dict[str, Any]:
        return self.settings


def configs(folder: Path) -> list[Any]:
    (folder / "generation_config.json").write_text(json.dumps({**SETTINGS, "transformers_version": "4.31.0"}))
    return [
        dict(SETTINGS),
        GenerationSettings(**SETTINGS),
        GenerationConfig(**SETTINGS),
        Foreign(**SETTINGS, top_k=None, num_beam_groups=1, cache_implementation="static", _from_model_config=True),
        folder,
        str(folder / "generation_config.json"),
    ]


def test_every_kind_of_configuration_says_the_same(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for config in configs(tmp_path):
            assert resolve_settings({"generation_config": config}, {}) == GenerationSettings(**SETTINGS)


def test_keywords_come_before_the_configuration_and_that_before_the_models():
    found = resolve_settings(
        {"generation_config": {"num_beams": 4, "min_length": 2}, "num_beams": 2, "top_p": None},
        {"num_beams": 5, "min_length": 3, "repetition_penalty": 1.5, "made_up": 7},
    )
    assert found == GenerationSettings(num_beams=2, min_length=2, repetition_penalty=1.5)


def test_the_peers_own_configuration():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    assert settings_of_config(transformers.GenerationConfig()) == {}
    config = transformers.GenerationConfig(**SETTINGS, suppress_tokens=[5], do_sample=False)
    expected = GenerationSettings(**SETTINGS, suppress_tokens=[5])
    assert resolve_settings({"generation_config": config}, {}) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_built_is_refused_with_the_reason_unless_it_is_off(name: str):
    off, reason = REFUSED[name]
    assert resolve_settings({name: off}, {}) == resolve_settings({name: None}, {}) == GenerationSettings()
    for options in ({name: 17}, {"generation_config": {name: 17}}, {"generation_config": Foreign(**{name: 17})}):
        with pytest.raises(InputError) as raised:
            resolve_settings(options, {})
        assert str(raised.value) == f"{name} is 17, but {reason}"


def test_a_long_value_is_named_by_its_type():
    with pytest.raises(InputError, match=r"^assistant_model is a dict, but nothing is drafted; leave it out for"):
        resolve_settings({"assistant_model": {i: i for i in range(50)}}, {})


def test_options_that_change_no_token_are_let_through():
    assert resolve_settings({"cache_implementation": "static", "synced_gpus": True}, {}) == GenerationSettings()


def test_unknown_options():
    for options in ({"num_beam": 3}, {"generation_config": {"num_beam": 3}}):
        with pytest.raises(InputError, match=r"generate has no option 'num_beam'; did you mean 'num_beams'\?"):
            resolve_settings(options, {})
    with pytest.warns(UserWarning, match="generation_config sets of_tomorrow, which generate does not know and leaves"):
        assert settings_of_config(Foreign(of_tomorrow=1, num_beams=2)) == {"num_beams": 2}


@pytest.mark.parametrize("config", [5, [1], object()])
def test_what_is_no_configuration(config: Any):
    with pytest.raises(InputError, match=r"generation_config is a .*; expected GenerationSettings, a dict, the path"):
        resolve_settings({"generation_config": config}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_p": 0.5}, "top_p only affects sampling; pass do_sample=True"),
        ({"temperature": 0.0}, "temperature only affects sampling; pass do_sample=True"),
        ({"length_penalty": 2.0}, "length_penalty only affects beam search; pass num_beams"),
        ({"max_new_tokens": 3, "max_length": 5}, "max_new_tokens and max_length were both passed; max_new_tokens=3"),
        ({"min_new_tokens": 3, "min_length": 5}, "min_new_tokens and min_length were both passed; min_new_tokens=3"),
    ],
)
def test_what_has_no_effect_is_told(options: dict[str, Any], message: str):
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}") as told:
        resolve_settings(options, {})
    assert len(told) == 1


def test_what_a_configuration_says_for_another_way_of_generating_is_no_news():
    """As of a checkpoint made for sampling, decoded greedily."""
    config = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.9, length_penalty=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not resolve_settings({"generation_config": config, "do_sample": False}, {}).do_sample
