"""What an output is: container, definition, contract and equality. Imports no framework."""

from .container import ALWAYS, ModelOutput, field_names

__all__ = ["ALWAYS", "ModelOutput", "field_names"]
