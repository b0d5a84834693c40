"""BERT's tokenizer: WordPiece (Devlin et al., 2019, section 3)."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointNotFoundError
from .base import Config, PreTrainedTokenizer, Tokens
from .files import TOKENIZER_FILE, read_vocabulary, vocabulary_in_order

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
    own_settings = tuple(setting for setting, _, _ in _NORMALIZATION)

    @classmethod
    def _build_backend(cls, folder: Path, config: Config, tokens: Tokens) -> "Tokenizer":
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

        if not (folder / VOCABULARY).is_file():
            raise CheckpointNotFoundError(f"{str(folder)!r} has neither {TOKENIZER_FILE} nor {VOCABULARY}")
        vocabulary = read_vocabulary(folder / VOCABULARY)
        backend = Tokenizer(models.WordPiece(vocabulary, unk_token=tokens["unk_token"].content))
        options = {ours: config.get(setting, default) for setting, ours, default in _NORMALIZATION}
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
            for setting, ours, _ in _NORMALIZATION:
                if setting in config:
                    setattr(normalizer, ours, config[setting])

    def _saved_settings(self) -> Config:
        return {setting: getattr(self.backend.normalizer, ours, default) for setting, ours, default in _NORMALIZATION}

    def _vocabulary_files(self) -> dict[str, str]:
        return {VOCABULARY: "".join(f"{token}\n" for token in vocabulary_in_order(self.backend))}
