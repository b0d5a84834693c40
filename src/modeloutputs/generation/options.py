"""What a call of `generate` is passed, by keyword and as `generation_config`, put together to settings."""

import os
import warnings
from collections.abc import Mapping
from typing import Any, cast

from ..errors import InputError, nearest
from .config import GenerationConfig
from .setting_names import KNOWN_NAMES, REFUSED, SETTINGS
from .settings import GenerationSettings

__all__ = ["resolve_settings", "settings_of_config"]


def resolve_settings(options: Mapping[str, Any], assigned: Mapping[str, Any]) -> GenerationSettings:
    """Return the settings of a call, and warn of those that have no effect.

    Args:
        options: keyword arguments; `generation_config` among them is what `settings_of_config` takes. The others take
            precedence over it.
        assigned: settings of the model that count where neither says anything.

    Raises:
        InputError: an unknown option, one that is not built, or a value out of range.

    Examples:
        >>> resolve_settings({"generation_config": {"num_beams": 4, "max_length": 9}, "num_beams": 2}, {}).num_beams
        2
        >>> resolve_settings({"num_beam_groups": 2}, {})
        Traceback (most recent call last):
        modeloutputs.errors.InputError: num_beam_groups is 2, but groups of beams are not searched; pass num_return_sequences with do_sample=True or num_beams for several sequences
    """  # noqa: E501
    keywords = _supported({name: value for name, value in options.items() if name != "generation_config"})
    config = settings_of_config(options.get("generation_config"))
    merged = {**{name: value for name, value in assigned.items() if name in SETTINGS}, **config, **keywords}
    settings = GenerationSettings.of(merged)
    # Of what a checkpoint says, much is meant for another way of generating.
    unused = [line for line in settings.without_effect() if keywords.get(line.split()[0]) is not None]
    for line in [*_passed_twice(keywords), *unused]:
        _warn(line)
    return settings


def settings_of_config(config: Any) -> dict[str, Any]:
    """Return the settings that a `generation_config` sets.

    Args:
        config: GenerationSettings, a mapping, the path of a generation_config.json or its folder, or an object whose
            `to_dict` gives a mapping, as the peer's configurations and ours do. Names that are known nowhere are
            refused in a mapping and let through, with a warning, in files and objects.

    Raises:
        InputError: something else, or a setting that is not built.
    """
    if config is None:
        return {}
    if isinstance(config, GenerationSettings):
        return {name: value for name, value in vars(config).items() if value is not SETTINGS[name]}
    if isinstance(config, Mapping):
        return _supported(cast("Mapping[str, Any]", config))
    if isinstance(config, (str, os.PathLike)):
        config = GenerationConfig.from_pretrained(cast("str | os.PathLike[str]", config))
    found: Any = config.to_dict() if hasattr(config, "to_dict") else None
    if not isinstance(found, Mapping):
        raise InputError(
            f"generation_config is a {type(config).__name__}; expected GenerationSettings, a dict, the path of a "
            "generation_config.json, or an object with to_dict"
        )
    content = {name: value for name, value in cast("Mapping[str, Any]", found).items() if value is not None}
    unknown = sorted(content.keys() - KNOWN_NAMES)
    if unknown:
        _warn(f"generation_config sets {', '.join(unknown)}, which generate does not know and leaves aside", 1)
    return _supported({name: value for name, value in content.items() if name in KNOWN_NAMES})


def _supported(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are settings.

    Raises:
        InputError: one that is not built, unless it is off, or an unknown one.
    """
    for name, value in options.items():
        if name in REFUSED:
            off, reason = REFUSED[name]
            if value is not None and value != off:
                raise InputError(f"{name} is {_shown(value)}, but {reason}")
        elif name not in KNOWN_NAMES:
            raise InputError(f"generate has no option {name!r}{nearest(name, SETTINGS)}")
    return {name: value for name, value in options.items() if name in SETTINGS}


def _shown(value: Any) -> str:
    """Return a value as text, or its type where the text would be no short line."""
    text = repr(value)
    return text if len(text) <= 40 and "\n" not in text else f"a {type(value).__name__}"


def _passed_twice(keywords: Mapping[str, Any]) -> list[str]:
    pairs = (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length"))
    return [
        f"{new} and {whole} were both passed; {new}={keywords[new]} counts"
        for new, whole in pairs
        if keywords.get(new) is not None and keywords.get(whole) is not None
    ]


def _warn(message: str, depth: int = 0) -> None:
    warnings.warn(message, UserWarning, stacklevel=6 + depth)  # at the call of `generate`
