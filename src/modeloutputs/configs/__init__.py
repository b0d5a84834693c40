"""Model configurations: config.json as dataclasses. Imports no framework."""

from .base import Config
from .bert import BertConfig

__all__ = ["BertConfig", "Config"]
