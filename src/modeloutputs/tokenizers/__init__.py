"""Tokenizers over the `tokenizers` library: text in, ids, masks and offsets out, as lists or any framework's arrays."""

from .auto import load_tokenizer
from .bart import BartTokenizer
from .base import PreTrainedTokenizer
from .bert import BertTokenizer
from .encoding import BatchEncoding
from .gpt import OpenAIGPTTokenizer
from .gpt2 import GPT2Tokenizer
from .llama import LlamaTokenizer
from .stream import TextStream

__all__ = [
    "BartTokenizer",
    "BatchEncoding",
    "BertTokenizer",
    "GPT2Tokenizer",
    "LlamaTokenizer",
    "OpenAIGPTTokenizer",
    "PreTrainedTokenizer",
    "TextStream",
    "load_tokenizer",
]
