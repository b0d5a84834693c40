"""Llama's tokenizers: byte-level since Llama 3 (Dubey et al., 2024), SentencePiece's with bytes for the rest before."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointNotFoundError, InputError
from .base import Config, PreTrainedTokenizer, Tokens
from .bos_eos import BOS_EOS_SETTINGS, add_bos_eos
from .files import TOKENIZER_FILE
from .sentencepiece import read_sentencepiece
from .settings import FLAG
from .sources import Sources

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["LlamaTokenizer"]

MODEL = "tokenizer.model"


class LlamaTokenizer(PreTrainedTokenizer):
    """Whatever tokenizer.json holds, to the letter, with the special tokens that tokenizer_config.json names.

    Where that file names none, `<unk>`, `<s>` and `</s>` are, if tokenizer.json has them as special tokens. Which
    tokens stand around a text is tokenizer.json's to say, unless `add_bos_token` or `add_eos_token` is passed. Rows are
    padded on the left, as generating needs, unless tokenizer_config.json says otherwise; there is no padding token
    unless it names one or one is set.

    Without tokenizer.json, SentencePiece's tokenizer.model is read: texts get the ids that SentencePiece gives them,
    and a bos token before. `legacy` false puts no space before what follows a special token within a text.
    """

    model_type = "llama"
    default_padding_side = "left"
    default_special_tokens = {  # noqa: RUF012  # the base says that it is a class variable
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    own_settings = {**BOS_EOS_SETTINGS, "legacy": FLAG}  # noqa: RUF012
    vocabulary_names = (MODEL,)

    @classmethod
    def _build_backend(cls, sources: Sources, config: Config, tokens: Tokens) -> "Tokenizer":
        if sources.vocabulary is None:
            raise CheckpointNotFoundError(f"{sources.place} has neither {TOKENIZER_FILE} nor {MODEL}")
        if not isinstance(sources.vocabulary, Path):
            raise InputError(f"the vocabulary is a mapping; expected {TOKENIZER_FILE} or the file {MODEL}")
        return read_sentencepiece(sources.vocabulary, spaces_after_special=config.get("legacy") is not False)

    @classmethod
    def _add_special_tokens(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        add_bos_eos(backend, {"add_bos_token": True, **config}, tokens)

    @classmethod
    def _own_tokens(cls, backend: "Tokenizer") -> Tokens:
        # a byte-level vocabulary can have "<s>" as a piece of ordinary text
        special = {token.content for token in backend.get_added_tokens_decoder().values()}
        return {name: token for name, token in cls._default_tokens().items() if token.content in special}

    @classmethod
    def _apply_settings(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        add_bos_eos(backend, config, tokens)
