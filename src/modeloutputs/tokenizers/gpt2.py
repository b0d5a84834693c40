"""GPT-2's tokenizer: byte-level byte-pair encoding (Radford et al., 2019, section 2.2)."""

from typing import TYPE_CHECKING

from .base import Config, PreTrainedTokenizer, Tokens
from .bos_eos import BOS_EOS_SETTINGS, add_bos_eos
from .files import MERGES_NAMES, VOCABULARY_NAMES, bpe_texts, read_bpe
from .settings import FLAG
from .sources import Sources

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ByteLevelTokenizer", "GPT2Tokenizer"]


class ByteLevelTokenizer(PreTrainedTokenizer):
    """Pieces of UTF-8 bytes, no text unknown, spaces part of the word that follows; what GPT-2 and BART share.

    Setting of its own: `add_prefix_space`, whether a text's first word is as those within it, after a space.
    """

    backend_model = "BPE"
    own_settings = {"add_prefix_space": FLAG}  # noqa: RUF012  # the base says that it is a class variable
    vocabulary_names, merges_names = VOCABULARY_NAMES, MERGES_NAMES

    @property
    def add_prefix_space(self) -> bool:
        """Whether a text is taken as if it began with a space."""
        return bool(getattr(self.backend.pre_tokenizer, "add_prefix_space", False))

    @classmethod
    def _build_backend(cls, sources: Sources, config: Config, tokens: Tokens) -> "Tokenizer":
        from tokenizers import Tokenizer, decoders, pre_tokenizers

        backend = Tokenizer(read_bpe(*sources.both()))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(config.get("add_prefix_space")))
        backend.decoder = decoders.ByteLevel()
        return backend

    @classmethod
    def _apply_settings(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        from tokenizers.pre_tokenizers import ByteLevel

        pre_tokenizer = backend.pre_tokenizer
        if isinstance(pre_tokenizer, ByteLevel) and config.get("add_prefix_space") is not None:
            pre_tokenizer.add_prefix_space = bool(config["add_prefix_space"])

    def _saved_settings(self) -> Config:
        return {"add_prefix_space": self.add_prefix_space}

    def _vocabulary_files(self) -> dict[str, str]:
        return bpe_texts(self.backend)


class GPT2Tokenizer(ByteLevelTokenizer):
    """Bytes in pieces, from tokenizer.json or vocab.json + merges.txt; `<|endoftext|>` is its only special token.

    It puts nothing around texts unless `add_bos_token` or `add_eos_token` is set, and has no padding token of its own.
    """

    model_type = "gpt2"
    default_special_tokens = dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|endoftext|>")
    own_settings = {**ByteLevelTokenizer.own_settings, **BOS_EOS_SETTINGS}  # noqa: RUF012

    @classmethod
    def _add_special_tokens(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        add_bos_eos(backend, config, tokens)

    @classmethod
    def _apply_settings(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        super()._apply_settings(backend, config, tokens)
        add_bos_eos(backend, config, tokens)
