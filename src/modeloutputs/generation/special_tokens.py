"""Special tokens: read from and written to generation_config.json, with config.json as the fallback.

No other setting of generation_config.json is read: sampling and beams are controlled by the caller's arguments alone.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..architectures import Config
from ..errors import FileFormatError
from ..files.atomic import atomic_path
from ..files.checkpoints import read_json

__all__ = ["SPECIAL_TOKENS", "as_list", "read_special_tokens", "special_tokens_of", "write_special_tokens"]

GENERATION_CONFIG = "generation_config.json"
SPECIAL_TOKENS = (
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
)

TokenIds = dict[str, int | list[int]]
"""A token id, or several, by the name that config.json uses."""


def read_special_tokens(folder: Path) -> TokenIds:
    """Return the special tokens in a checkpoint's generation_config.json; none if there is no such file.

    Raises:
        FileFormatError: invalid JSON, or a token id that is not an integer.
    """
    path = folder / GENERATION_CONFIG
    content = read_json(path) if path.is_file() else {}
    found = {name: content[name] for name in SPECIAL_TOKENS if content.get(name) is not None}
    for name, value in found.items():
        tokens = cast("list[Any]", value) if isinstance(value, list) else [value]
        if not all(type(token) is int for token in tokens):
            raise FileFormatError(f"{str(path)!r} has {name} {value!r}; expected a token id or a list of them")
    return found


def write_special_tokens(folder: Path, token_ids: Mapping[str, Any]) -> None:
    """Write what `read_special_tokens` reads; no file if there are none."""
    if token_ids:
        with atomic_path(folder / GENERATION_CONFIG) as path:
            path.write_text(json.dumps(token_ids, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def special_tokens_of(config: Config, overrides: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return each special token's ids; an empty list for one that is not configured or is outside the vocabulary.

    Args:
        config: the model's configuration.
        overrides: ids that take precedence, as `read_special_tokens` returns them.
    """
    found: dict[str, list[int]] = {}
    for name in SPECIAL_TOKENS:
        value = overrides.get(name)
        tokens = as_list(getattr(config, name, config.other.get(name)) if value is None else value)
        found[name] = [token for token in tokens if 0 <= token < cast("Any", config).vocab_size]
    return found


def as_list(tokens: int | Sequence[int] | None) -> list[int]:
    """Return a token id, several, or none as a list.

    Examples:
        >>> as_list(7), as_list((7, 9)), as_list(None)
        ([7], [7, 9], [])
    """
    if tokens is None:
        return []
    return [tokens] if isinstance(tokens, int) else [int(token) for token in tokens]
