"""Everything that a checkpoint decides about a model: configuration, names of modules and weights, checks, tasks.

Imports no framework.
"""

from .bart import BartConfig
from .bert import BertConfig
from .config import Config
from .gpt import OpenAIGPTConfig
from .gpt2 import GPT2Config
from .llama import LlamaConfig

__all__ = ["BartConfig", "BertConfig", "Config", "GPT2Config", "LlamaConfig", "OpenAIGPTConfig"]
