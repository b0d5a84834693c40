"""Outputs of models: the container, its definition and contract, nested values and equality. Imports no framework."""

from .container import ALWAYS, ModelOutput
from .fields import field_names

__all__ = ["ALWAYS", "ModelOutput", "field_names"]
