"""The tokens around a text that say where it begins and ends, as `add_bos_token` and `add_eos_token` ask for them."""

from typing import TYPE_CHECKING

from ..errors import InputError
from .base import Config, Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FRAME_SETTINGS", "frame"]

FRAME_SETTINGS = ("add_bos_token", "add_eos_token")


def frame(backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
    """Have a backend put the bos token before each text and the eos token after it, as `bos a eos bos b eos`.

    Nothing is done where neither setting is given; where one is, the other is off unless it is given too, as in the
    peer.

    Raises:
        InputError: a token is to be put in, and the tokenizer has none or its vocabulary lacks it.
    """
    if not any(setting in config for setting in FRAME_SETTINGS):
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
        raise InputError(
            f"add_{name} was asked for, and the tokenizer has no {name} in its vocabulary; pass {name} too"
        )
    return token.content
