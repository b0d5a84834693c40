"""Model configurations: config.json as dataclasses. Imports no framework."""

from .bart import BartConfig
from .bert import BertConfig
from .config import Config
from .gpt import OpenAIGPTConfig
from .gpt2 import GPT2Config
from .llama import LlamaConfig

__all__ = ["BartConfig", "BertConfig", "Config", "GPT2Config", "LlamaConfig", "OpenAIGPTConfig"]
