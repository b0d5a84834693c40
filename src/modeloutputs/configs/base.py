"""What every configuration has: labels, output flags, and reading and writing config.json."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

from ..checkpoints import atomic_path, find_checkpoint, read_json
from ..errors import CheckpointError, InputError, nearest

__all__ = ["Config"]

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


@dataclasses.dataclass(kw_only=True)
class Config:
    """Fields that configurations of all architectures share, under the names that config.json uses.

    `other` keeps what a config.json holds beyond the declared fields, so that saving loses nothing.
    """

    model_type: ClassVar[str] = ""

    output_hidden_states: bool = False
    output_attentions: bool = False
    use_cache: bool = True
    return_dict: bool = True
    tie_word_embeddings: bool = True
    is_decoder: bool = False
    add_cross_attention: bool = False
    num_labels: int = 2
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    dtype: str | None = None
    other: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any], repr=False)

    def __post_init__(self) -> None:
        if self.id2label is None:
            self.id2label = {i: f"LABEL_{i}" for i in range(self.num_labels)}
        self.id2label = {int(i): label for i, label in self.id2label.items()}
        self.num_labels = len(self.id2label)
        self.label2id = {label: i for i, label in self.id2label.items()}
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise InputError(f"problem_type is {self.problem_type!r}{nearest(self.problem_type, PROBLEM_TYPES)}")
        if self.add_cross_attention and not self.is_decoder:
            raise InputError("add_cross_attention=True needs is_decoder=True: only a decoder attends to an encoder")

    @classmethod
    def from_dict(cls, values: dict[str, Any], **overrides: Any) -> Self:
        """Build a configuration from the contents of a config.json, `overrides` winning over them.

        Raises:
            InputError: an override is no field of this configuration, or a value makes no sense.
            CheckpointError: the values belong to another architecture.
        """
        cls._check_architecture(values.get("model_type", cls.model_type))
        known = {field.name for field in dataclasses.fields(cls)} - {"other"}
        for name in overrides:
            if name not in known:
                raise InputError(f"{cls.__name__} has no setting {name!r}{nearest(name, known)}")
        values = {**values, **overrides}
        if "torch_dtype" in values:
            values.setdefault("dtype", values.pop("torch_dtype"))
        if "num_labels" in overrides and "id2label" not in overrides:
            values = {name: value for name, value in values.items() if name not in ("id2label", "label2id")}
        other = {name: value for name, value in values.items() if name not in known and name != "model_type"}
        return cls(**{name: value for name, value in values.items() if name in known}, other=other)

    @classmethod
    def _check_architecture(cls, model_type: Any) -> None:
        if cls.model_type and model_type != cls.model_type:
            raise CheckpointError(
                f"this checkpoint's model_type is {model_type!r}, and {cls.__name__} reads {cls.model_type!r}; "
                "load it with the class of its own architecture"
            )

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Read config.json from a checkpoint folder or a hub id; see `from_dict`."""
        return cls.from_dict(read_json(find_checkpoint(name_or_path) / "config.json"), **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return what config.json holds: declared fields first, then what was read beyond them."""
        declared = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "other"}
        declared.pop("num_labels")  # the number of entries of id2label
        present = {name: value for name, value in declared.items() if value is not None}
        return {"model_type": self.model_type, **present, **self.other}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json into a folder, replacing one that is there atomically."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        with atomic_path(Path(folder) / "config.json") as path:
            path.write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def require_positive(self, *names: str) -> None:
        """Refuse a size that is not a positive integer, before a layer fails on it.

        Raises:
            InputError: naming the setting and its value.
        """
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{type(self).__name__}.{name} is {value!r}; it must be a positive integer")
