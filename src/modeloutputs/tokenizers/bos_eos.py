"""The bos and eos tokens around a text, which the settings `add_bos_token` and `add_eos_token` turn on."""

from typing import TYPE_CHECKING

from ..errors import InputError
from .base import Config, Tokens
from .settings import FLAG

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["BOS_EOS_SETTINGS", "add_bos_eos"]

BOS_EOS_SETTINGS = {"add_bos_token": FLAG, "add_eos_token": FLAG}


def add_bos_eos(backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
    """Make a backend put the bos token before each text and the eos token after it, as `bos a eos bos b eos`.

    If neither setting is given, the backend is left unchanged; if only one is, the other is off, as in the peer.

    Raises:
        InputError: a setting is on, but the tokenizer has no such token, or not in its vocabulary.
    """
    if not any(setting in config for setting in BOS_EOS_SETTINGS):
        return
    from tokenizers.processors import TemplateProcessing

    before, after = (_text(backend, config, tokens, name) for name in ("bos_token", "eos_token"))
    single, pair = ([f"{it}:{i}" for it in (before, f"${text}", after) if it] for i, text in enumerate("AB"))
    ids = [(token, backend.token_to_id(token)) for token in {before, after} if token]
    backend.post_processor = TemplateProcessing(single=single, pair=[*single, *pair], special_tokens=ids)


def _text(backend: "Tokenizer", config: Config, tokens: Tokens, name: str) -> str | None:
    if not config.get(f"add_{name}"):
        return None
    token = tokens.get(name)
    if token is None or backend.token_to_id(token.content) is None:
        raise InputError(f"add_{name} is set, but the tokenizer has no {name} in its vocabulary; pass {name} too")
    return token.content
