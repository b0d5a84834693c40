"""Settings of a tokenizer: which types they have, and the files that hold them."""

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import FileFormatError, ModelOutputsError
from ..files.checkpoints import read_json
from ..files.git_lfs import check_not_lfs_pointer
from .special import SPECIAL_TOKENS, read_special_token, read_token

if TYPE_CHECKING:
    from tokenizers import AddedToken

__all__ = [
    "CHAT_TEMPLATE_FILE",
    "CONFIG_FILE",
    "FLAG",
    "NO_EFFECT",
    "SHARED",
    "Config",
    "Expected",
    "additional_tokens",
    "check_types",
    "limit_of",
    "read_settings",
    "read_text",
    "templates_of",
]

Config = dict[str, Any]
"""Entries of tokenizer_config.json, overridden by settings that were passed."""

TOKENIZER_FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
CHAT_TEMPLATE_FILE, CHAT_TEMPLATE_FOLDER = "chat_template.jinja", "additional_chat_templates"
_NO_LIMIT = 10**9  # a length from here on stands for none


# -- types ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What a setting has to be; None stands for its default everywhere."""

    text: str
    accepts: Callable[[Any], bool]


def _is_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in cast("list[Any]", value))


def _is_length(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1


def _is_template(value: Any) -> bool:
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        return all(isinstance(it, dict) and _is_names([it.get("name"), it.get("template")]) for it in parts)  # pyright: ignore[reportUnknownMemberType]
    return isinstance(value, str) or (
        isinstance(value, dict) and _is_names(list(cast("dict[str, Any]", value).values()))
    )


FLAG = Expected("true or false", lambda value: isinstance(value, bool))
_SIDE = Expected("'left' or 'right'", lambda value: isinstance(value, str) and value in ("left", "right"))
_LENGTH = Expected("a positive number of tokens", _is_length)
_TOKEN = Expected("a text, or a token's description", lambda value: True)  # read_token says what is wrong with one
_TOKENS = Expected("a list of tokens", lambda value: isinstance(value, (list, tuple)))
_TOKENS_OR_NAMES = Expected("a list of tokens, or tokens by name", lambda value: isinstance(value, (list, tuple, dict)))

SHARED: Mapping[str, Expected] = {
    **dict.fromkeys(SPECIAL_TOKENS, _TOKEN),
    "additional_special_tokens": _TOKENS,
    "extra_special_tokens": _TOKENS_OR_NAMES,
    "model_max_length": _LENGTH,
    "max_len": _LENGTH,
    "padding_side": _SIDE,
    "truncation_side": _SIDE,
    "chat_template": Expected("a template, or a list of templates with their names", _is_template),
    "clean_up_tokenization_spaces": FLAG,
    "split_special_tokens": FLAG,
    "model_input_names": Expected("a list of names", _is_names),
}
"""Settings of all tokenizers."""

NO_EFFECT = ("use_fast", "verbose", "trust_remote_code", "name_or_path")
"""What other libraries' calls pass, and has no effect here: all tokenizers are fast ones, and no code is loaded."""


def check_types(
    settings: Config, expected: Mapping[str, Expected], error: type[ModelOutputsError], where: str = ""
) -> None:
    """Check the values of settings.

    Raises:
        ModelOutputsError: of the type `error`; a value has another type than expected.
    """
    for name, value in settings.items():
        if value is not None and name in expected and not expected[name].accepts(value):
            raise error(f"{name}{where} is {reprlib.repr(value)}; expected {expected[name].text}")


# -- values ---------------------------------------------------------------------------------------------------------


def limit_of(config: Config) -> int | None:
    """Return the number of tokens that a model accepts, under its newer name or the older one, None for no limit."""
    limit = config.get("model_max_length") or config.get("max_len")
    return int(limit) if limit is not None and limit < _NO_LIMIT else None


def additional_tokens(config: Config, error: type[ModelOutputsError]) -> "list[AddedToken]":
    """Return the special tokens beyond the named ones: listed, or under names of their own like `image_token`.

    Raises:
        ModelOutputsError: of the type `error`; one is no token.
    """
    listed: list[Any] = list(config.get("additional_special_tokens") or ())
    extra: Any = config.get("extra_special_tokens") or []
    others: list[Any] = list(cast("dict[str, Any]", extra).values()) if isinstance(extra, dict) else list(extra)
    named = [
        value
        for name, value in config.items()
        if name.endswith("_token") and name not in SPECIAL_TOKENS and (_is_described(value) or isinstance(value, str))
    ]
    tokens = [
        read_special_token("additional special token", it, error=error) for it in (*listed, *others, *named) if it
    ]
    return list({token.content: token for token in tokens}.values())


def _is_described(value: Any) -> bool:
    return isinstance(value, dict) and "content" in value


def templates_of(value: Any) -> Any:
    """Return a chat template, or a mapping from name to template where there are several."""
    if isinstance(value, (list, tuple)):
        return {part["name"]: part["template"] for part in cast("list[dict[str, str]]", value)}
    return value


# -- files ----------------------------------------------------------------------------------------------------------


def read_settings(folder: Path, expected: Mapping[str, Expected]) -> Config:
    """Return the contents of tokenizer_config.json, special_tokens_map.json and chat templates; each is optional.

    Where there is a tokenizer.json, its post-processor tells whether texts get a first and a last token, and
    `add_bos_token` and `add_eos_token` of tokenizer_config.json count for nothing, as in the peer.

    Raises:
        FileFormatError: a file is corrupt, or a setting in it has the wrong type.
    """
    settings = _read_checked(folder / CONFIG_FILE, expected)
    if "added_tokens_decoder" not in settings:  # the newer of the two forms
        settings.update(_read_checked(folder / "special_tokens_map.json", expected))
    if (folder / TOKENIZER_FILE).is_file():
        settings = {name: value for name, value in settings.items() if name not in ("add_bos_token", "add_eos_token")}
    return {**settings, **_read_templates(folder)}


def _read_checked(path: Path, expected: Mapping[str, Expected]) -> Config:
    if not path.is_file():
        return {}
    settings = read_json(path)
    check_types(settings, expected, FileFormatError, f" in {str(path)!r}")
    for name in SPECIAL_TOKENS:
        if settings.get(name):
            read_token(f"{name} in {str(path)!r}", settings[name])
    return settings


def _read_templates(folder: Path) -> Config:
    single = folder / CHAT_TEMPLATE_FILE
    found = {"default": read_text(single)} if single.is_file() else {}
    others = sorted((folder / CHAT_TEMPLATE_FOLDER).glob("*.jinja"))
    found.update({path.stem: read_text(path) for path in others})
    if not found:
        return {}
    return {"chat_template": found if others else found["default"]}


def read_text(path: Path) -> str:
    """Read a file of text.

    Raises:
        FileFormatError: it is not text in UTF-8, or a Git LFS pointer.
    """
    check_not_lfs_pointer(path)  # it would be read as a vocabulary of three tokens
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{str(path)!r} is not text in UTF-8: {error}") from None
