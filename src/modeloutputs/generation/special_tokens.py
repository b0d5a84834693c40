"""Special tokens of a model: those of generation_config.json, else those of config.json."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..architectures import Config
from ..errors import InputError

__all__ = ["SPECIAL_TOKENS", "as_list", "special_tokens_of"]

SPECIAL_TOKENS = (
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
)


def special_tokens_of(config: Config, overrides: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return each special token's ids; an empty list for one that is not configured or is outside the vocabulary.

    Args:
        config: the model's configuration.
        overrides: ids that take precedence, by name.

    Raises:
        InputError: one of the configuration is neither a token id nor several, as a file may have it.
    """
    found: dict[str, list[int]] = {}
    for name in SPECIAL_TOKENS:
        value = overrides.get(name)
        tokens = _configured(name, config) if value is None else as_list(value)
        found[name] = [token for token in tokens if 0 <= token < cast("Any", config).vocab_size]
    return found


def _configured(name: str, config: Config) -> list[int]:
    value: Any = getattr(config, name, config.other.get(name))
    if value is None:
        return []
    several: list[Any] = list(cast("Sequence[Any]", value)) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in several):
        raise InputError(f"the configuration has {name} {value!r:.80}; expected a token id, or a list of them")
    return several


def as_list(tokens: int | Sequence[int] | None) -> list[int]:
    """Return a token id, several, or none as a list.

    Examples:
        >>> as_list(7), as_list((7, 9)), as_list(None)
        ([7], [7, 9], [])
    """
    if tokens is None:
        return []
    return [tokens] if isinstance(tokens, int) else [int(token) for token in tokens]
