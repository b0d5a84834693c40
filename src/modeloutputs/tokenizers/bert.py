"""BERT's tokenizer: WordPiece (Devlin et al., 2019, section 3)."""

from typing import TYPE_CHECKING, Any

from ..errors import CheckpointNotFoundError
from .base import Config, PreTrainedTokenizer, Tokens
from .files import TOKENIZER_FILE, lines_of, read_vocabulary
from .settings import FLAG
from .sources import Sources

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["BertTokenizer"]

VOCABULARY = "vocab.txt"
# How tokenizer_config.json calls what BERT's normalizer does, how the normalizer calls it, and the default.
_NORMALIZATION = (
    ("do_lower_case", "lowercase", True),
    ("strip_accents", "strip_accents", None),
    ("tokenize_chinese_chars", "handle_chinese_chars", True),
)


class BertTokenizer(PreTrainedTokenizer):
    """`[CLS] text [SEP]` or `[CLS] a [SEP] b [SEP]` in WordPieces, from tokenizer.json or vocab.txt.

    Settings of its own: `do_lower_case`, `strip_accents` (as `do_lower_case` where None) and `tokenize_chinese_chars`.
    """

    model_type = "bert"
    backend_model = "WordPiece"
    model_input_names = ("input_ids", "token_type_ids", "attention_mask")
    default_special_tokens = {  # noqa: RUF012  # the base says that it is a class variable
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    own_settings = {setting: FLAG for setting, _, _ in _NORMALIZATION}  # noqa: RUF012
    vocabulary_names = (VOCABULARY,)

    @classmethod
    def _build_backend(cls, sources: Sources, config: Config, tokens: Tokens) -> "Tokenizer":
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

        if sources.vocabulary is None:
            raise CheckpointNotFoundError(f"{sources.place} has neither {TOKENIZER_FILE} nor {VOCABULARY}")
        vocabulary, unknown = read_vocabulary(sources.vocabulary), tokens["unk_token"].content
        vocabulary.setdefault(unknown, max(vocabulary.values(), default=-1) + 1)  # words cannot do without
        backend = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
        options: dict[str, Any] = {
            ours: _setting(config, setting, default) for setting, ours, default in _NORMALIZATION
        }
        backend.normalizer = normalizers.BertNormalizer(clean_text=True, **options)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix="##")
        return backend

    @classmethod
    def _add_special_tokens(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        from tokenizers.processors import TemplateProcessing

        cls_, sep = tokens["cls_token"].content, tokens["sep_token"].content
        backend.post_processor = TemplateProcessing(
            single=[f"{cls_}:0", "$A:0", f"{sep}:0"],
            pair=[f"{cls_}:0", "$A:0", f"{sep}:0", "$B:1", f"{sep}:1"],
            special_tokens=[(token, backend.token_to_id(token)) for token in (cls_, sep)],
        )

    @classmethod
    def _apply_settings(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        from tokenizers.normalizers import BertNormalizer

        normalizer = backend.normalizer
        if isinstance(normalizer, BertNormalizer):
            for setting, ours, default in _NORMALIZATION:
                if setting in config:
                    setattr(normalizer, ours, _setting(config, setting, default))

    def _saved_settings(self) -> Config:
        return {setting: getattr(self.backend.normalizer, ours, default) for setting, ours, default in _NORMALIZATION}

    def _vocabulary_files(self) -> dict[str, str]:
        return {VOCABULARY: lines_of(self.backend.get_vocab(with_added_tokens=False))}


def _setting(config: Config, name: str, default: bool | None) -> bool | None:
    value = config.get(name)
    return default if value is None else value
