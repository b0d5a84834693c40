"""The base of all models: loading, saving, initial weights, gradient checkpointing."""

import dataclasses
import inspect
import os
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from ..architectures import Config
from ..architectures.layers import LayerPaths
from ..architectures.weights import WeightNames
from ..errors import CheckpointError, CheckpointWarning, InputError, nearest
from ..files.checkpoints import find_checkpoint
from ..files.shards import save_weights
from ..files.weights import MatchedNames, canonical_name
from ..output import ModelOutput
from .building import is_loading, loading, without_values
from .embeddings import EmbeddingsMixin, check_tied
from .inputs import check_tokens, positions_from_mask
from .layers import RMSNorm
from .placement import resolve_device, resolve_dtype
from .plain import PackedModule
from .stack import Call, Stack, StackHolder
from .training import TrainingMixin
from .weights import WeightSource, export_weights, import_weights, is_copy, open_weights

__all__ = ["PreTrainedModel", "call_inner"]

ConfigType = TypeVar("ConfigType", bound=Config)
OutputType = TypeVar("OutputType", bound=ModelOutput)


class PreTrainedModel(EmbeddingsMixin, TrainingMixin, StackHolder, Generic[ConfigType]):
    """Base of all models.

    Parameters and buffers have the names of the checkpoint, tied weights each of their names.
    """

    config_class: ClassVar[type[Config]]
    weight_names: ClassVar[WeightNames]
    layer_paths: ClassVar[LayerPaths]

    config: ConfigType

    def __init__(self, config: ConfigType) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{type(self).__name__} takes a {self.config_class.__name__}, got {type(config).__name__}")
        self.config = config

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
        CheckpointWarning names them together with those of the checkpoint that have no place here. Modules, parameters
        and buffers that a subclass adds keep their initial values where the checkpoint lacks them.

        Args:
            name_or_path: folder with config.json and weights, or a hub id.
            config: configuration to use in place of the checkpoint's.
            dtype: of the model's weights: a torch dtype, its name, or "auto" for that of the checkpoint.
            device: where the model goes.
            revision: branch, tag or commit, of a hub id.
            **overrides: settings of the configuration to change, and options of the constructor.

        Raises:
            CheckpointNotFoundError: the folder, its config.json, its weights or one of their shards is not there.
            CheckpointError: another architecture, weights missing or of wrong shape.
            FileFormatError: a file is truncated or corrupt.
            InputError: invalid setting, option, dtype or device.

        Examples:
            >>> import tempfile
            >>> from modeloutputs.torch import BertConfig, BertModel
            >>> config = BertConfig(
            ...     vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
            ... )
            >>> folder = tempfile.mkdtemp()
            >>> BertModel(config).save_pretrained(folder)
            >>> model = BertModel.from_pretrained(folder, hidden_dropout_prob=0.0)
            >>> model(torch.tensor([[1, 2, 3]]))
            BaseModelOutputWithPooling(
              last_hidden_state=f32[1,3,8],
              pooler_output=f32[1,8],
            )
        """
        target = resolve_device(device)
        folder = find_checkpoint(name_or_path, revision)
        settings, options = cls._settings(folder, config, overrides)
        with loading(cls):
            model = cls(settings, **options)
        source = open_weights(folder)
        matched = import_weights(
            model,
            source,
            cls.weight_names,
            tied=settings.tie_word_embeddings,
            dtype=resolve_dtype(dtype, settings, source),
            device=target,
        )
        model._report_missing(matched, source, folder)
        model.pack_weights()
        model._load_extras(folder)
        return model.eval()

    @classmethod
    def _settings(
        cls, folder: Path, config: ConfigType | None, overrides: Mapping[str, Any]
    ) -> tuple[ConfigType, dict[str, Any]]:
        """Return the configuration, and the options among `overrides` that the constructor takes."""
        config_class = cast("type[ConfigType]", cls.config_class)
        changes = {name: value for name, value in overrides.items() if config_class.has_setting(name)}
        options = {name: value for name, value in overrides.items() if name not in changes}
        parameters = inspect.signature(cls).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name in options:
            if name not in parameters and not takes_any:
                known = [*config_class.setting_names(), *list(parameters)[1:]]
                raise InputError(f"{cls.__name__} has no setting {name!r}{nearest(name, known)}")
        if config is None:
            return config_class.from_pretrained(folder, **changes), options
        if changes:
            raise InputError(f"pass either config or settings to change in it, not both ({', '.join(changes)})")
        return config, options

    def _load_extras(self, folder: Path) -> None:
        """Read what else a checkpoint folder holds for this model."""

    def _report_missing(self, matched: MatchedNames, source: WeightSource, folder: Path) -> None:
        """Initialise the weights that the checkpoint lacks, or refuse it if they are the base model's; warn once."""
        names = self.weight_names
        base = f"{names.prefix}."
        lost = [
            name
            for name in matched.missing
            if (name.startswith(base) or not hasattr(self, names.prefix))
            and not names.is_optional(name.removeprefix(base))
        ]
        if lost:
            raise CheckpointError(
                f"{str(folder)!r} lacks {len(lost)} weights of {type(self).__name__}: {', '.join(lost[:4])}"
                f"{', ...' if len(lost) > 4 else ''}; is it a checkpoint of this architecture and size?"
            )
        self._initialise(set(matched.missing))
        unexpected = [
            name for name in matched.unexpected if not names.is_ignored(name) and not self._is_repeated(name, source)
        ]
        new = [name for name in matched.missing if not names.is_neutral(name)]
        parts = [
            *([f"new, to be trained: {', '.join(new)}"] if new else []),
            *([f"in the checkpoint but not used: {', '.join(unexpected)}"] if unexpected else []),
        ]
        if parts:
            message = f"{type(self).__name__} from {str(folder)!r}: {'; '.join(parts)}"
            warnings.warn(message, CheckpointWarning, stacklevel=3)

    def _is_repeated(self, name: str, source: WeightSource) -> bool:
        """Return whether a checkpoint repeats another weight under this name, as older files do of tied weights."""
        prefix, repeats = f"{self.weight_names.prefix}.", self.weight_names.repeats(tied=True)
        original = repeats.get(name, repeats.get(f"{prefix}{name}"))
        if original is None:
            return False
        return any(is_copy(source, name, key) for key in (original, original.removeprefix(prefix)))

    def save_pretrained(self, folder: str | os.PathLike[str], *, max_shard_size: int = 5_000_000_000) -> None:
        """Write config.json and the weights, replacing what is there.

        Args:
            folder: created if missing.
            max_shard_size: bytes beyond which the weights are split over several files with an index.

        Raises:
            CheckpointError: a weight cannot be written so that loading finds it, as of a module that was quantised,
                pruned or given an adapter; nothing is written.
        """
        written = dataclasses.replace(
            self.config,
            dtype=str(self.dtype).removeprefix("torch."),
            other={**self.config.other, "architectures": [type(self).__name__]},
        )
        save_weights(self._exported_weights(), Path(folder), max_shard_size)
        written.save_pretrained(folder)
        self._save_extras(Path(folder))

    def _exported_weights(self) -> dict[str, Tensor]:
        """Return the weights for a checkpoint, held against what loading will ask for."""
        cls = next(base for base in type(self).__mro__ if base.__module__.startswith(f"{__package__}."))
        with loading(cls):
            fresh = cast("type[Self]", cls)(self.config)
        shapes = {name: tuple(tensor.shape) for name, tensor in fresh.state_dict().items()}
        names = self.weight_names
        if self.config.tie_word_embeddings:
            check_tied(self, names.tied)
        held = {canonical_name(name) for name in self.state_dict()}
        optional = {
            name for name in shapes if names.is_optional(name.removeprefix(f"{names.prefix}.")) and name not in held
        }
        return export_weights(
            self,
            {name: shape for name, shape in shapes.items() if name not in optional},
            closed=cls is type(self),  # a subclass may have weights of its own
            repeated=names.stored_twice(tied=self.config.tie_word_embeddings),
        )

    def _save_extras(self, folder: Path) -> None:
        """Write what `_load_extras` reads."""

    # -- building -----------------------------------------------------------------------------------------------

    @contextmanager
    def _building(self) -> Generator[None]:
        """Build modules; on exit they get initial values, unless they are on the meta device or a checkpoint's follow.

        Models within this one have initialised themselves.
        """
        before = set(self._modules)
        if is_loading(self):
            with without_values():
                yield
            return
        yield
        models = [name for name in self._modules if isinstance(self._modules[name], PreTrainedModel)]
        skipped = tuple(f"{name}." for name in {*before, *models})
        self._initialise({name for name, _ in self.named_parameters() if not name.startswith(skipped)})
        self.pack_weights()

    def pack_weights(self) -> None:
        """Move projections of one input end to end in memory, so that one product can compute them all.

        Names, shapes and values stay. Loading and moving a model do it; call it after replacing weights one by one.
        """
        for module in self.modules():
            if isinstance(module, PackedModule):
                module.pack()

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        moved = cast("Self", cast("Any", super())._apply(fn, recurse))
        self.pack_weights()
        return moved

    def __setstate__(self, state: dict[str, Any]) -> None:
        cast("Any", super()).__setstate__(state)
        self.pack_weights()  # each tensor of a copy has memory of its own

    def _initialise(self, names: set[str]) -> None:
        """Set parameters to the values that training starts from."""
        for name, parameter in self.named_parameters():
            if name in names and not parameter.is_meta:
                path, _, leaf = name.rpartition(".")
                self._initialise_parameter(name, self.get_submodule(path), leaf, parameter)
        for name, buffer in self.named_buffers():
            if name in names and not buffer.is_meta:
                buffer.zero_()

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

    def _begin_call(
        self,
        stack: Stack,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        position_ids: Tensor | None,
        **given: Any,
    ) -> tuple[Call, Tensor | None]:
        """Check a call before anything is computed.

        Args:
            stack: the layers.
            input_ids: (B, S), or None.
            inputs_embeds: (B, S, hidden), or None.
            position_ids: (B or 1, S), or None.
            **given: the other inputs and settings of `Stack.check`; settings that are None are the configuration's.

        Returns:
            the call, and the positions: as passed, or from the mask; None for those that follow the cache.
        """
        config: Any = self.config
        rows, length = self._check_tokens(input_ids, inputs_embeds, position_ids)
        for name in ("use_cache", "output_hidden_states", "output_attentions"):
            if given.get(name) is None:
                given[name] = getattr(config, name)
        given["checkpointing"] = self._active_checkpointing
        call = stack.check(rows, length, self._position_limit, **given)
        if position_ids is None:
            position_ids = positions_from_mask(call.attention_mask, length)
        return call, position_ids

    @property
    def _position_limit(self) -> int:
        """Positions that the model can hold."""
        return cast("Any", self.config).max_position_embeddings

    def _check_tokens(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        position_ids: Tensor | None = None,
        prefix: str = "",
    ) -> tuple[int, int]:
        """Refuse invalid tokens and positions, and return the number of rows and their length; see `check_tokens`."""
        config: Any = self.config
        return check_tokens(
            input_ids,
            inputs_embeds,
            vocab_size=config.vocab_size,
            width=config.hidden_size,
            limit=self._position_limit,
            position_ids=position_ids,
            prefix=prefix,
        )

    def _as_requested(self, output: OutputType, return_dict: bool | None) -> OutputType:
        """Return an output, or its plain tuple if the caller or the configuration asks for one."""
        if self.config.return_dict if return_dict is None else return_dict:
            return output
        return cast("OutputType", output.to_tuple())

    # -- placement ----------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device


def call_inner(model: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Call a model within another: it returns an output, whatever the configuration says of the outer model's."""
    return model(*inputs, return_dict=True, **options)
