"""What every configuration has: labels, output flags, and reading and writing config.json."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

from ..checkpoints import atomic_path, find_checkpoint, read_json
from ..errors import CheckpointError, InputError, nearest

__all__ = ["Config"]

DEFAULT_LABELS = 2
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
    num_labels: int = DEFAULT_LABELS
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    dtype: str | None = None
    other: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any], repr=False)

    def __post_init__(self) -> None:
        self._settle_labels()
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise InputError(f"problem_type is {self.problem_type!r}{nearest(self.problem_type, PROBLEM_TYPES)}")
        if self.add_cross_attention and not self.is_decoder:
            raise InputError("add_cross_attention=True needs is_decoder=True: only a decoder attends to an encoder")

    def _settle_labels(self) -> None:
        """Make num_labels, id2label and label2id, of which any may be given, say the same."""
        self.require_positive("num_labels")
        try:
            self.id2label = self._labels()
            label2id = {label: i for i, label in self.id2label.items()}
        except (AttributeError, TypeError, ValueError):
            raise InputError(
                f"id2label is {self.id2label!r} and label2id {self.label2id!r}; expected mappings of number and label"
            ) from None
        if self.num_labels not in (DEFAULT_LABELS, len(self.id2label)):
            raise InputError(
                f"num_labels is {self.num_labels}, and the labels are {len(self.id2label)}; pass one of them"
            )
        self.num_labels, self.label2id = len(self.id2label), label2id

    def _labels(self) -> dict[int, str]:
        if self.id2label:
            return {int(i): label for i, label in self.id2label.items()}
        if self.label2id:
            return {int(i): label for label, i in self.label2id.items()}
        return {i: f"LABEL_{i}" for i in range(self.num_labels)}

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
        values = cls._without_stale_labels(values, overrides)
        other = {name: value for name, value in values.items() if name not in known and name != "model_type"}
        return cls(**{name: value for name, value in values.items() if name in known}, other=other)

    @staticmethod
    def _without_stale_labels(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
        """Leave out what a config.json says of labels where an override says otherwise."""
        given = {"num_labels", "id2label", "label2id"} & overrides.keys()
        if not given or (given == {"num_labels"} and overrides["num_labels"] == len(values.get("id2label") or ())):
            return values
        stale = {"num_labels", "id2label", "label2id"} - given
        return {name: value for name, value in values.items() if name not in stale}

    @classmethod
    def _check_architecture(cls, model_type: Any) -> None:
        if cls.model_type and model_type != cls.model_type:
            raise CheckpointError(
                f"this checkpoint's model_type is {model_type!r}, and {cls.__name__} reads {cls.model_type!r}; "
                "load it with the class of its own architecture"
            )

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, **overrides: Any
    ) -> Self:
        """Read config.json from a checkpoint folder or a hub id, at a `revision` of it; see `from_dict`."""
        folder = find_checkpoint(name_or_path, revision, weights=False)
        return cls.from_dict(read_json(folder / "config.json"), **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return what config.json holds: declared fields first, then what was read beyond them."""
        omitted = ("other", "num_labels")  # the second is the number of entries of id2label
        values = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self) if f.name not in omitted}
        # None is left out where it is the default, and else written: left out, it would be read as the default.
        present = {name: value for name, (value, default) in values.items() if value is not None or default is not None}
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
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{type(self).__name__}.{name} is {value!r}; it must be a positive integer")

    def require_rate(self, *names: str) -> None:
        """Refuse a dropout rate that is none; None, where a setting may be it, is let through.

        Raises:
            InputError: naming the setting and its value.
        """
        for name in names:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= 1):
                raise InputError(f"{type(self).__name__}.{name} is {value!r}; it must be between 0 and 1")
