"""GPT's tokenizer: a lower-cased byte-pair encoding of words (Radford et al., 2018, section 4.1)."""

from typing import TYPE_CHECKING

from .base import Config, PreTrainedTokenizer, Tokens
from .files import MERGES_NAMES, VOCABULARY_NAMES, bpe_texts, read_bpe
from .sources import Sources

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["OpenAIGPTTokenizer"]

_WORD_END = "</w>"  # closes the last piece of each word, so that decoding knows where spaces go


class OpenAIGPTTokenizer(PreTrainedTokenizer):
    """Words in lower case, split at punctuation as BERT's are, in pieces, from tokenizer.json or vocab.json + merges.

    It puts no tokens around texts, and has no special token but the unknown one, which stands for each character that
    the vocabulary lacks.
    """

    model_type = "openai-gpt"
    backend_model = "BPE"
    default_special_tokens = {"unk_token": "<unk>"}  # noqa: RUF012  # the base says that it is a class variable
    vocabulary_names, merges_names = VOCABULARY_NAMES, MERGES_NAMES

    @classmethod
    def _build_backend(cls, sources: Sources, config: Config, tokens: Tokens) -> "Tokenizer":
        from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

        unknown = tokens["unk_token"].content
        backend = Tokenizer(read_bpe(*sources.both(), unk_token=unknown, end_of_word_suffix=_WORD_END))
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.BPEDecoder(suffix=_WORD_END)
        return backend

    def _vocabulary_files(self) -> dict[str, str]:
        return bpe_texts(self.backend)
