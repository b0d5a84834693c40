"""Tiny tokenizers for tests of generation."""

import tempfile
from functools import cache
from pathlib import Path

from modeloutputs.tokenizers import GPT2Tokenizer, LlamaTokenizer

from ..tokenizers.tiny import bytes_bpe, llama2_bpe, write_json

END_TEXT = "<|endoftext|>"


@cache
def tokenizer() -> GPT2Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        bytes_bpe(END_TEXT).save(str(Path(folder) / "tokenizer.json"))
        return GPT2Tokenizer.from_pretrained(folder)


@cache
def spaces_tokenizer() -> LlamaTokenizer:
    """Return one whose decoding drops the space before the first word."""
    with tempfile.TemporaryDirectory() as folder:
        return LlamaTokenizer.from_pretrained(write_json(llama2_bpe(), Path(folder)))


def ids_of(text: str) -> list[int]:
    return tokenizer()(text)["input_ids"]
