"""The content of generation_config.json: every setting of the file, known here or not, kept as it is."""

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from ..errors import FileFormatError, InputError
from ..files.checkpoints import read_json
from ..files.replacing import Replacement, replace_together
from .setting_names import KNOWN_NAMES
from .special_tokens import SPECIAL_TOKENS

__all__ = ["GENERATION_CONFIG", "GenerationConfig"]

GENERATION_CONFIG = "generation_config.json"


class GenerationConfig:
    """Settings of generation that belong to a checkpoint, as attributes; those that are not set are None.

    Of what a file says, `generate` uses the special tokens, and the rest only where it is passed the object as
    `generation_config`. What was set in Python, by keyword or by attribute, it uses in any case.

    Args:
        **settings: in the names of `GenerationSettings`, and any others.

    Examples:
        >>> config = GenerationConfig(max_new_tokens=20)
        >>> config.pad_token_id = 3
        >>> config.to_dict()
        {'max_new_tokens': 20, 'pad_token_id': 3}
        >>> print(config.top_p)
        None
    """

    def __init__(self, /, **settings: Any) -> None:
        self.__dict__["_settings"] = dict(settings)
        self.__dict__["_assigned"] = set(settings)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> Self:
        """Read a generation_config.json, or that of a folder; an empty one if the folder has none.

        Raises:
            FileFormatError: invalid JSON, or a token id that is not an integer.
            InputError: there is neither such a file nor such a folder.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"generation_config is {str(path)!r}, where there is no file; pass a checkpoint's folder")
        file = path / GENERATION_CONFIG if path.is_dir() else path
        content = read_json(file) if file.is_file() else {}
        _check_tokens(file, content)
        config = cls(**content)
        config._assigned.clear()
        return config

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write generation_config.json into a folder; nothing if there are no settings.

        Raises:
            InputError: a value that JSON does not have.
        """
        with replace_together(Path(folder)) as files:
            self.write(files)

    def write(self, files: Replacement) -> None:
        """Write generation_config.json among files that are replaced together; see `save_pretrained`."""
        if not self._settings:
            return
        try:
            text = json.dumps(self._settings, indent=2, sort_keys=True) + "\n"
        except (TypeError, ValueError) as error:
            raise InputError(
                f"generation_config cannot be written as JSON: {error}; set such options in calls"
            ) from None
        files.write_text(GENERATION_CONFIG, text)

    @property
    def _settings(self) -> dict[str, Any]:
        return self.__dict__["_settings"]

    @property
    def _assigned(self) -> set[str]:
        return self.__dict__["_assigned"]

    def to_dict(self) -> dict[str, Any]:
        """Return all settings, as they were read or set."""
        return copy.deepcopy(self._settings)

    def update(self, /, **settings: Any) -> None:
        """Set several settings."""
        for name, value in settings.items():
            setattr(self, name, value)

    def assigned(self) -> dict[str, Any]:
        """Return the settings that were set in Python, not read from a file."""
        return {name: value for name, value in self._settings.items() if name in self._assigned and value is not None}

    def token_ids(self) -> dict[str, Any]:
        """Return the special tokens, by name."""
        values = ((name, self._settings.get(name)) for name in SPECIAL_TOKENS)
        return {name: value for name, value in values if value is not None}

    def __getattr__(self, name: str) -> Any:
        """Return a setting; None for one that is not set."""
        settings: Mapping[str, Any] = self.__dict__.get("_settings", {})
        if name in settings:
            return settings[name]
        if name in KNOWN_NAMES:
            return None
        raise AttributeError(f"generation_config has no setting {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting."""
        self._settings[name] = value
        self._assigned.add(name)

    def __delattr__(self, name: str) -> None:
        """Unset a setting."""
        if name not in self._settings:
            raise AttributeError(f"generation_config does not set {name!r}")
        del self._settings[name]
        self._assigned.discard(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and self._settings == other._settings

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # it can change

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._settings.items())})"


def _check_tokens(file: Path, content: Mapping[str, Any]) -> None:
    for name in SPECIAL_TOKENS:
        value = content.get(name)
        tokens = cast("list[Any]", value) if isinstance(value, list) else [] if value is None else [value]
        if not all(type(token) is int for token in tokens):
            raise FileFormatError(f"{str(file)!r} has {name} {value!r}; expected a token id or a list of them")
