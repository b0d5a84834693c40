"""What all models share: loading, saving, initial weights, gradient checkpointing."""

import dataclasses
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from ..architectures import Config
from ..errors import CheckpointError, CheckpointWarning, InputError, first_line
from ..files.checkpoints import find_checkpoint
from ..files.shards import save_weights
from ..output import ModelOutput
from .layers import LayerSelection, RMSNorm
from .stack import Given
from .weights import Imported, Rename, WeightSource, export_weights, import_weights, is_copy, open_weights

__all__ = ["ModelWithHead", "PreTrainedModel"]

ConfigType = TypeVar("ConfigType", bound=Config)
OutputType = TypeVar("OutputType", bound=ModelOutput)


class PreTrainedModel(nn.Module, Generic[ConfigType]):
    """Base of all models. A subclass says how checkpoints spell its weights and which of them may be absent there."""

    config_class: ClassVar[type[Config]]
    base_model_prefix: ClassVar[str]
    """Attribute under which a model with a head holds the model without, and its prefix in checkpoints."""
    renames: ClassVar[tuple[Rename, ...]] = ()
    optional_weights: ClassVar[str] = r"(?!)"
    """Pattern of the base model's parameters that a checkpoint may lack: they are then initialised."""
    ignored_weights: ClassVar[str] = r"(?!)"
    """Pattern of names in checkpoints that carry no weights of their own."""
    neutral_weights: ClassVar[str] = r"(?!)"
    """Pattern of parameters whose initial values change nothing: that a checkpoint lacks them goes without saying."""
    tied_weights: ClassVar[Mapping[str, str]] = {}
    """Names in checkpoints whose tensors may repeat another's, and that other."""

    config: ConfigType

    def __init__(self, config: ConfigType) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{type(self).__name__} takes a {self.config_class.__name__}, got {type(config).__name__}")
        self.config = config
        self.gradient_checkpointing = False

    # -- loading and saving -------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        config: ConfigType | None = None,
        dtype: torch.dtype | str = "auto",
        device: torch.device | str = "cpu",
        revision: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Load a model, in evaluation mode, from a checkpoint folder or a hub id.

        Weights that the checkpoint lacks because it was made for another head are initialised, and one
        CheckpointWarning names them together with those of the checkpoint that have no place here.

        Args:
            name_or_path: folder with config.json and weights, or a hub id.
            config: configuration to use in place of the checkpoint's.
            dtype: of the model's weights: a torch dtype, its name, or "auto" for that of the checkpoint.
            device: where the model goes.
            revision: branch, tag or commit, of a hub id.
            **overrides: settings of the configuration to change.

        Raises:
            CheckpointNotFoundError: the folder, its config.json, its weights or one of their shards is not there.
            CheckpointError: another architecture, weights missing or of wrong shape.
            FileFormatError: a file is truncated or corrupt.
            InputError: settings, a dtype or a device that cannot be.
        """
        target = _resolve_device(device)
        folder = find_checkpoint(name_or_path, revision)
        if config is not None and overrides:
            raise InputError(f"pass either config or settings to change in it, not both ({', '.join(overrides)})")
        settings = cls._config_class().from_pretrained(folder, **overrides) if config is None else config
        with torch.device("meta"):
            model = cls(settings)
        source = open_weights(folder)
        imported = import_weights(
            model, source, cls.renames, cls.base_model_prefix, _resolve_dtype(dtype, settings, source), target
        )
        model._settle(imported, source, folder)
        model._read_more(folder)
        return model.eval()

    def _read_more(self, folder: Path) -> None:
        """Read what else a checkpoint folder holds for this model."""

    @classmethod
    def _config_class(cls) -> Any:
        return cls.config_class

    def _settle(self, imported: Imported, source: WeightSource, folder: Path) -> None:
        """Initialise what the checkpoint lacks, or refuse it where that is no head's; warn once of both lists."""
        base = self.base_model_prefix + "."
        lost = [
            name
            for name in imported.missing
            if (name.startswith(base) or not hasattr(self, self.base_model_prefix))
            and not re.match(self.optional_weights, name.removeprefix(base))
        ]
        if lost:
            raise CheckpointError(
                f"{str(folder)!r} lacks {len(lost)} weights of {type(self).__name__}: {', '.join(lost[:4])}"
                f"{', ...' if len(lost) > 4 else ''}; is it a checkpoint of this architecture and size?"
            )
        self._initialise(imported.missing)
        unexpected = [
            name
            for name in imported.unexpected
            if not re.search(self.ignored_weights, name)
            and not (name in self.tied_weights and is_copy(source, name, self.tied_weights[name]))
        ]
        new = [name for name in imported.missing if not re.search(self.neutral_weights, name)]
        parts = [
            *([f"new, to be trained: {', '.join(new)}"] if new else []),
            *([f"in the checkpoint but not used: {', '.join(unexpected)}"] if unexpected else []),
        ]
        if parts:
            message = f"{type(self).__name__} from {str(folder)!r}: {'; '.join(parts)}"
            warnings.warn(message, CheckpointWarning, stacklevel=3)

    def save_pretrained(self, folder: str | os.PathLike[str], *, max_shard_size: int = 5_000_000_000) -> None:
        """Write config.json and the weights, under the names that other libraries read, replacing what is there.

        Args:
            folder: made if it is not there.
            max_shard_size: bytes beyond which the weights are split over several files with an index.
        """
        written = dataclasses.replace(
            self.config,
            dtype=str(self.dtype).removeprefix("torch."),
            other={**self.config.other, "architectures": [type(self).__name__]},
        )
        save_weights(export_weights(self, self.renames), Path(folder), max_shard_size)
        written.save_pretrained(folder)
        self._write_more(Path(folder))

    def _write_more(self, folder: Path) -> None:
        """Write what `_read_more` reads."""

    # -- initial weights ----------------------------------------------------------------------------------------

    def _initialise(self, names: list[str] | None = None) -> None:
        """Set parameters to what training starts from: those named, or all but those of a base model, which did."""
        base = self.base_model_prefix + "."
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                continue  # it has no values yet: a checkpoint's are to come
            if name in names if names is not None else not name.startswith(base):
                path, _, leaf = name.rpartition(".")
                self._initialise_parameter(name, self.get_submodule(path), leaf, parameter)

    @torch.no_grad()
    def _initialise_parameter(self, name: str, module: nn.Module, leaf: str, parameter: Tensor) -> None:
        if leaf.endswith("bias"):
            parameter.zero_()
        elif isinstance(module, (nn.LayerNorm, RMSNorm)):
            parameter.fill_(1.0)
        else:
            parameter.normal_(0.0, getattr(self.config, "initializer_range", 0.02))
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                parameter[module.padding_idx].zero_()

    # -- calling ------------------------------------------------------------------------------------------------

    def _given(
        self,
        use_cache: bool | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        **tensors: Any,
    ) -> Given:
        """Return what a caller gave, completed with what the configuration says."""
        config = self.config
        return Given(
            use_cache=config.use_cache if use_cache is None else use_cache,
            output_hidden_states=config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            output_attentions=config.output_attentions if output_attentions is None else output_attentions,
            gradient_checkpointing=self.gradient_checkpointing and self.training,
            **tensors,
        )

    def _returned(self, output: OutputType, return_dict: bool | None) -> OutputType:
        """Return an output, or its plain tuple where the caller or the configuration wants no dict."""
        if self.config.return_dict if return_dict is None else return_dict:
            return output
        return cast("OutputType", output.to_tuple())

    # -- training and placement ---------------------------------------------------------------------------------

    def gradient_checkpointing_enable(self) -> None:
        """Keep only each layer's input for the backward pass and compute the rest again: less memory, more time."""
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keep all activations for the backward pass again."""
        self._set_gradient_checkpointing(False)

    def _set_gradient_checkpointing(self, on: bool) -> None:
        for module in self.modules():
            if isinstance(module, PreTrainedModel):
                module.gradient_checkpointing = on

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device


class ModelWithHead(PreTrainedModel[ConfigType]):
    """Base of models with something on top of a base model, which is the attribute `base_model_prefix`."""

    @property
    def base_model(self) -> Any:
        """The model without the head."""
        return getattr(self, self.base_model_prefix)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.base_model.get_input_embeddings()

    def _finish(
        self, cls: type[OutputType], outputs: ModelOutput, return_dict: bool | None, **fields: Any
    ) -> OutputType:
        """Put the head's own fields together with those that it and the base model's output have in common."""
        common = {name: value for name, value in outputs.items() if name in cls.__output_fields__}
        return self._returned(cls(**common, **fields), return_dict)


def _resolve_dtype(dtype: torch.dtype | str, config: Config, source: WeightSource) -> torch.dtype:
    if isinstance(dtype, str) and dtype == "auto":
        stored = {tensor.dtype for tensor in source.values()}
        floating = [d for d in stored if d.is_floating_point]
        dtype = config.dtype or (floating[0] if len(floating) == 1 else torch.float32)
    resolved = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(resolved, torch.dtype) or not resolved.is_floating_point:
        raise InputError(f"dtype is {dtype!r}; expected 'auto' or a floating point dtype like 'float32' or 'bfloat16'")
    return resolved


def _resolve_device(device: torch.device | str) -> torch.device:
    """Return a device that can hold weights here, before any are read.

    Raises:
        InputError: there is no such device, or it holds no numbers.
    """
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise InputError(f"device is {device!r}, which cannot be used here: {first_line(error)}") from None
    if resolved.type == "meta":
        raise InputError("device is 'meta', which holds no weights; build the model under torch.device('meta') instead")
    return resolved
