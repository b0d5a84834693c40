"""The common part of all configurations: labels, output flags, and reading and writing config.json."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self, cast, overload

from ..errors import CheckpointError, InputError, nearest
from ..files.atomic import atomic_path
from ..files.checkpoints import find_checkpoint, read_json

__all__ = ["PROBLEM_TYPES", "Alias", "Config"]

DEFAULT_LABELS = 2
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


class Alias:
    """A size's common name, in a configuration whose config.json calls it otherwise: reads and sets the same value."""

    def __init__(self, field: str) -> None:
        self.field = field

    @overload
    def __get__(self, config: None, owner: type["Config"]) -> Self: ...
    @overload
    def __get__(self, config: "Config", owner: type["Config"]) -> int: ...
    def __get__(self, config: "Config | None", owner: type["Config"]) -> Self | int:
        return self if config is None else getattr(config, self.field)

    def __set__(self, config: "Config", value: int) -> None:
        setattr(config, self.field, value)


@dataclasses.dataclass(kw_only=True)
class Config:
    """Fields that configurations of all architectures share, under the names that config.json uses.

    `other` keeps what a config.json holds beyond the declared fields, so that saving loses nothing.
    """

    model_type: ClassVar[str] = ""
    causal: ClassVar[bool] = False  # whether no position sees a later one even where is_decoder is False

    output_hidden_states: bool = False
    output_attentions: bool = False
    use_cache: bool = True
    return_dict: bool = True
    tie_word_embeddings: bool = True
    is_decoder: bool = False
    add_cross_attention: bool = False
    is_encoder_decoder: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None
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
        if self.add_cross_attention and not (self.is_decoder or self.causal):
            raise InputError("add_cross_attention=True needs is_decoder=True: only a decoder attends to an encoder")

    def _settle_labels(self) -> None:
        """Make num_labels, id2label and label2id agree, whichever of them were given."""
        self.require_positive("num_labels")
        try:
            self.id2label = self._labels()
            label2id = {label: i for i, label in self.id2label.items()}
        except (AttributeError, TypeError, ValueError):
            raise InputError(
                f"id2label is {self.id2label!r} and label2id {self.label2id!r}; expected mappings of number and label"
            ) from None
        if self.num_labels not in (type(self).num_labels, len(self.id2label)):
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
            InputError: an override is not a field of this configuration, or a value is invalid.
            CheckpointError: the values belong to another architecture.
        """
        cls._check_architecture(values.get("model_type", cls.model_type))
        known = cls.setting_names()
        overrides = cls._without_aliases(overrides)
        for name in overrides:
            if name not in known:
                raise InputError(f"{cls.__name__} has no setting {name!r}{nearest(name, known)}")
        values = {**cls._under_our_names(values), **overrides}
        values = cls._without_stale_labels(values, overrides)
        other = {name: value for name, value in values.items() if name not in known and name != "model_type"}
        return cls(**{name: value for name, value in values.items() if name in known}, other=other)

    @classmethod
    def setting_names(cls) -> list[str]:
        """Return the names of all settings."""
        return [field.name for field in dataclasses.fields(cls) if field.name != "other"]

    @classmethod
    def has_setting(cls, name: str) -> bool:
        """Return whether there is a setting, or a common name of one, called `name`."""
        return name in cls.setting_names() or isinstance(getattr(cls, name, None), Alias)

    @classmethod
    def _under_our_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Copy a config.json with what other versions and libraries name otherwise under the names declared here."""
        values = cls._without_aliases(values)
        if "torch_dtype" in values:
            values.setdefault("dtype", values.pop("torch_dtype"))
        return values

    @classmethod
    def _without_aliases(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Copy settings with aliases under their field's name; they win over that name, as they do in transformers."""
        aliases = {name: alias for name in values if isinstance(alias := getattr(cls, name, None), Alias)}
        own = {name: value for name, value in values.items() if name not in aliases}
        return {**own, **{alias.field: values[name] for name, alias in aliases.items()}}

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
        """Return the contents of config.json: declared fields first, then the others that were read."""
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
        """Refuse an invalid dropout rate; None is accepted if it is the default.

        Raises:
            InputError: naming the setting and its value.
        """
        for name in names:
            value = getattr(self, name)
            if value is None and getattr(type(self), name) is None:
                continue
            if not (isinstance(value, (int, float)) and 0 <= value <= 1):
                raise InputError(f"{type(self).__name__}.{name} is {value!r}; it must be between 0 and 1")

    def require_token_ids(self, vocab_size: int, *names: str) -> None:
        """Refuse a special token beyond the vocabulary; as everywhere in Python, negative ids count from its end.

        The architecture's default is let through: configurations with a smaller vocabulary often leave it as it is,
        and a token that never occurs is one that is not there.

        Raises:
            InputError: naming the setting and its value.
        """
        for name in names:
            value = getattr(self, name)
            if value == getattr(type(self), name):
                continue
            for token in cast("list[Any]", value) if isinstance(value, list) else [value]:
                _check_token_id(name, token, vocab_size)

    def require_divisible(self, name: str, by: str) -> None:
        """Refuse sizes of which the second does not divide the first.

        Raises:
            InputError: naming both and their values.
        """
        size, parts = getattr(self, name), getattr(self, by)
        if size % parts:
            raise InputError(f"{name} {size} cannot be split into {by} {parts}")


def _check_token_id(name: str, token: Any, vocab_size: int) -> None:
    if token is None:
        return
    if not isinstance(token, int) or isinstance(token, bool):
        raise InputError(f"{name} is {token!r}; it must be an integer, the number of a token")
    if not -vocab_size <= token < vocab_size:
        raise InputError(f"{name} is {token}, beyond a vocabulary of {vocab_size}")
