"""Outputs in safetensors files: class, structure and arrays are written and read back; nothing is pickled.

Arrays are stored under their flat names (`hidden_states.0`, `past_key_values.0.1`; in a list of outputs after the
output's number), so any safetensors reader opens the file; an array in two places is stored once. Class and nesting
are JSON in the file's metadata, under "modeloutputs".
"""

from .description import SavedFile, SavedOutput, read_notes, read_saved
from .loading import load
from .saving import save

__all__ = ["SavedFile", "SavedOutput", "load", "read_notes", "read_saved", "save"]
