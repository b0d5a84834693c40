"""The common part of all configurations: labels, output flags, and reading and writing config.json."""

import dataclasses
import difflib
import json
import os
import warnings
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast, overload

from ..errors import CheckpointError, ConfigWarning, InputError, nearest
from ..files.checkpoints import find_checkpoint
from ..files.folders import CONFIG, check_folder
from ..files.replacing import replace_together
from .labels import LABEL_SETTINGS, settle_labels
from .setting_checks import SettingChecks, shown
from .setting_types import check_setting

__all__ = ["PROBLEM_TYPES", "Alias", "Config"]

DEFAULT_LABELS = 2
_NEAR = 0.88
"""Likeness from which a name is taken for a misspelt one, of 1: in GPT-2, `n_layers` is, `type_vocab_size` is not."""

C = TypeVar("C", bound="Config")
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


class _ConfigType(type):
    """Builds configurations from any keywords: common names, those of other versions, and foreign ones are taken."""

    def __call__(cls: type[C], **settings: Any) -> C:  # pyright: ignore[reportGeneralTypeIssues]
        given = cls.under_our_names(settings)
        if given.pop("model_type", cls.model_type) != cls.model_type:
            raise InputError(
                f"model_type is {shown(settings['model_type'])}, and {cls.__name__} is for {cls.model_type!r}"
            )
        known = {*cls.setting_names(), "other"}
        foreign = {name: value for name, value in given.items() if name not in known}
        if foreign:
            cls.check_foreign(foreign)
            other = cast("dict[str, Any]", given.get("other") or {})
            given = {name: value for name, value in given.items() if name in known} | {"other": {**foreign, **other}}
        config: C = type.__call__(cls, **given)
        config.validate()
        return config


@dataclasses.dataclass(kw_only=True)
class Config(SettingChecks, metaclass=_ConfigType):
    """Fields that configurations of all architectures share, under the names that config.json uses.

    Foreign settings, of a config.json, of a keyword or assigned, are kept: they can be read as attributes, are saved,
    and lie in `other`. Of num_labels, id2label and label2id, assigning one moves the others. Settings that a model
    reads when it is built cannot be assigned once a model was built from the configuration; `LATE_SETTINGS` can.
    """

    model_type: ClassVar[str] = ""
    causal: ClassVar[bool] = False  # whether no position sees a later one even where is_decoder is False
    LATE_SETTINGS: ClassVar[frozenset[str]] = frozenset(
        {
            *("output_hidden_states", "output_attentions", "use_cache", "return_dict", "problem_type", "dtype"),
            *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_eos_token_id"),
            *("vocab_size", "num_labels", "id2label", "label2id"),
        }
    )
    """What calls, saving and generation read, so that it may be assigned at any time."""

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
        for name in ("is_decoder", "add_cross_attention"):  # else what follows would misread them
            check_setting(type(self), name, getattr(self, name))
        self._settle_labels()
        if type(self.dtype).__name__ == "dtype":  # of PyTorch or NumPy
            self.dtype = str(self.dtype).removeprefix("torch.")
        for name in ("output_hidden_states", "output_attentions"):
            if getattr(self, name) is None:  # as the peer's files may have them
                setattr(self, name, False)
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise InputError(f"problem_type is {shown(self.problem_type)}{nearest(self.problem_type, PROBLEM_TYPES)}")
        if self.add_cross_attention and not (self.is_decoder or self.causal):
            raise InputError("add_cross_attention=True needs is_decoder=True: only a decoder attends to an encoder")

    def validate(self) -> None:
        """Hold all settings against their types. From now on, assigning settings is checked too.

        Raises:
            InputError: naming the setting, its value and what was expected.
        """
        for name in self.setting_names():
            check_setting(type(self), name, getattr(self, name))
        vars(self)["_valid"] = True

    def revalidate(self) -> None:
        """Hold settings that were assigned since against one another; see `validate`."""
        vars(self).pop("_valid", None)
        self.__post_init__()
        self.validate()

    def _settle_labels(self) -> None:
        """Make num_labels, id2label and label2id agree, whichever of them were given."""
        self.require_positive("num_labels")
        labels = settle_labels(self.num_labels, self.id2label, self.label2id)
        if self.num_labels not in (type(self).num_labels, len(labels.id2label)):
            raise InputError(
                f"num_labels is {self.num_labels}, and the labels are {len(labels.id2label)}; pass one of them"
            )
        self.num_labels, self.id2label, self.label2id = len(labels.id2label), labels.id2label, labels.label2id

    # -- reading and assigning ----------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        other = vars(self).get("other", {})
        if name in other:
            return other[name]
        raise AttributeError(f"{type(self).__name__} has no setting {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_valid" not in vars(self) or name.startswith("_"):
            super().__setattr__(name, value)
        elif name in LABEL_SETTINGS:
            self._assign_labels(name, value)
        elif hasattr(type(self), name) or name in self.setting_names():
            self._assign(name, value)
        else:
            self.other[name] = value

    def _assign(self, name: str, value: Any) -> None:
        alias = getattr(type(self), name, None)
        name = alias.field if isinstance(alias, Alias) else name
        check_setting(type(self), name, value)
        built = vars(self).get("_built")
        if built is not None and name not in self.LATE_SETTINGS | {"other"} and value != getattr(self, name):
            raise InputError(
                f"{name} was read when a {built} was built from this configuration, and assigning it changes nothing; "
                f"pass it to from_pretrained, or build another model from dataclasses.replace(config, {name}=...)"
            )
        super().__setattr__(name, value)

    def _assign_labels(self, name: str, value: Any) -> None:
        if name == "num_labels" and value == self.num_labels:
            return
        given: dict[str, Any] = {"num_labels": 0, "id2label": None, "label2id": None, name: value}
        if name == "num_labels":
            self.check_size(name, value)
        elif not value:
            given["num_labels"] = self.num_labels
        labels = settle_labels(**given)
        vars(self).update(num_labels=len(labels.id2label), **labels._asdict())

    def mark_built(self, model: str) -> None:
        """Refuse from now on to assign what a model of this class has read; a copy of the configuration is free."""
        vars(self)["_built"] = model

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_built"}

    # -- names --------------------------------------------------------------------------------------------------

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
        values = {**cls._with_agreeing_labels(cls.under_our_names(values), overrides), **overrides}
        values = cls._without_stale_labels(values, overrides)
        other = {name: value for name, value in values.items() if name not in known and name != "model_type"}
        return cls(**{name: value for name, value in values.items() if name in known}, other=other)

    @classmethod
    def of(cls, config: Any) -> Self:
        """Return a configuration of this class as it is, and one of another library as its `to_dict` describes it.

        Raises:
            InputError: neither.
            CheckpointError: it is of another architecture.
        """
        if isinstance(config, cls):
            return config
        to_dict = getattr(config, "to_dict", None)
        if isinstance(config, Config) or not callable(to_dict):
            raise InputError(f"config is a {type(config).__name__}; expected a {cls.__name__}")
        return cls.from_dict(cast("dict[str, Any]", to_dict()))

    @classmethod
    def setting_names(cls) -> list[str]:
        """Return the names of all settings."""
        return [field.name for field in dataclasses.fields(cls) if field.name != "other"]

    @classmethod
    def has_setting(cls, name: str) -> bool:
        """Return whether there is a setting, or a common name of one, called `name`."""
        return name in cls.setting_names() or isinstance(getattr(cls, name, None), Alias)

    @classmethod
    def check_foreign(cls, foreign: dict[str, Any]) -> None:
        """Warn of foreign keywords that are nearly the name of a setting.

        Raises:
            InputError: one is the name of something that follows from the settings.
        """
        for name in foreign:
            if hasattr(cls, name):
                raise InputError(f"{cls.__name__}.{name} follows from other settings and cannot be passed")
            close = difflib.get_close_matches(name, cls.setting_names(), n=1, cutoff=_NEAR)
            if close:
                message = f"{cls.__name__} has no setting {name!r}, which is kept as it is; did you mean {close[0]!r}?"
                warnings.warn(message, ConfigWarning, stacklevel=3)

    @classmethod
    def under_our_names(cls, values: dict[str, Any]) -> dict[str, Any]:
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
    def _with_agreeing_labels(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
        """Return what a file says, without its labels where there are more or fewer of them than it says, and warn."""
        count, named = values.get("num_labels"), values.get("id2label")
        if not isinstance(named, dict) or not isinstance(count, int) or set(LABEL_SETTINGS) & overrides.keys():
            return values
        found = len(cast("dict[Any, Any]", named))
        if not found or count == found:
            return values
        message = f"config.json says num_labels {count} and names {found} labels; they are called LABEL_0 and so on"
        warnings.warn(message, ConfigWarning, stacklevel=3)
        return {name: value for name, value in values.items() if name not in ("id2label", "label2id")}

    @staticmethod
    def _without_stale_labels(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
        """Leave out what a config.json says of labels where an override says otherwise."""
        given = set(LABEL_SETTINGS) & overrides.keys()
        if not given or (given == {"num_labels"} and overrides["num_labels"] == len(values.get("id2label") or ())):
            return values
        stale = set(LABEL_SETTINGS) - given
        return {name: value for name, value in values.items() if name not in stale}

    @classmethod
    def _check_architecture(cls, model_type: Any) -> None:
        if cls.model_type and model_type != cls.model_type:
            raise CheckpointError(
                f"this checkpoint's model_type is {shown(model_type)}, and {cls.__name__} reads {cls.model_type!r}; "
                "load it with the class of its own architecture"
            )

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, **overrides: Any
    ) -> Self:
        """Read config.json from a checkpoint folder or a hub id, at a `revision` of it; see `from_dict`."""
        return cls.from_folder(find_checkpoint(name_or_path, revision, weights=False), **overrides)

    @classmethod
    def from_folder(cls, folder: Path, **overrides: Any) -> Self:
        """Read the config.json of a folder; see `from_dict` and `check_folder`."""
        if not (folder / CONFIG).exists():
            check_folder(folder)  # says what else the folder is
        return cls.from_dict(check_folder(folder, weights=False), **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of config.json: declared fields first, then the others that were read."""
        omitted = ("other", "num_labels")  # the second is the number of entries of id2label
        values = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self) if f.name not in omitted}
        # None is left out where it is the default, and else written: left out, it would be read as the default.
        present = {name: value for name, (value, default) in values.items() if value is not None or default is not None}
        return {"model_type": self.model_type, **present, **self.other}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json into a folder, replacing one that is there atomically."""
        with replace_together(Path(folder)) as files:
            files.write_text(CONFIG, self.to_json_string())

    def to_json_string(self, use_diff: bool = False) -> str:
        """Return the text of config.json, all settings whatever `use_diff` says.

        Raises:
            InputError: a foreign setting is nothing that JSON can hold.
        """
        try:
            return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"
        except (TypeError, ValueError) as error:
            raise InputError(f"{type(self).__name__} cannot be written as JSON: {error}") from None
