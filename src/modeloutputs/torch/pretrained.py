"""The base of all models: loading, saving, initial weights, gradient checkpointing."""

import dataclasses
import functools
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from ..architectures import Config
from ..architectures.layers import LayerPaths
from ..architectures.weights import WeightNames
from ..errors import InputError
from ..files.checkpoints import SAFETENSORS_INDEX, variant_name
from ..files.folders import CONFIG
from ..files.replacing import Replacement, replace_together
from ..files.shards import parse_size, stale_weights, write_weights
from ..files.weights import canonical_name
from ..output import ModelOutput
from .building import is_loading, loading, without_values
from .embeddings import EmbeddingsMixin, check_tied
from .inputs import check_tokens, positions_from_mask
from .keywords import loading_keywords, saving_keywords
from .layers import RMSNorm
from .loading import loading_info, open_checkpoint, report_missing, resolve_settings
from .placement import resolve_device, resolve_dtype
from .plain import PackedModule
from .stack import Call, Stack, StackHolder
from .training import TrainingMixin
from .weights import export_weights, import_weights

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
        config.revalidate()
        config.mark_built(type(self).__name__)
        if pruned := config.other.get("pruned_heads"):
            raise InputError(
                f"config.pruned_heads is {pruned!r}: heads were cut out of this checkpoint, whose weights are smaller; "
                "only whole ones are read"
            )
        self.config = config

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _taking_foreign_configs(cls.__init__)

    # -- loading and saving -------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] | None,
        *,
        config: ConfigType | None = None,
        state_dict: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype | str = "auto",
        device: torch.device | str = "cpu",
        revision: str | None = None,
        subfolder: str = "",
        variant: str | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        **overrides: Any,
    ) -> Self:
        """Load a model, in evaluation mode, from a checkpoint folder or a hub id.

        Weights that the checkpoint lacks because it was made for another head are initialised, and one
        CheckpointWarning names them together with those of the checkpoint that have no place here. Modules, parameters
        and buffers that a subclass adds keep their initial values where the checkpoint lacks them. What a wrapper or a
        training loop put before all names, as "module.", is taken off.

        Args:
            name_or_path: folder with config.json and weights, or a hub id; None with `config` and `state_dict`.
            config: configuration to use in place of the checkpoint's, or one of transformers.
            state_dict: tensors to use in place of the checkpoint's.
            dtype: of the model's weights: a torch dtype, its name, or "auto" for that of the checkpoint.
            device: where the model goes.
            revision: branch, tag or commit, of a hub id.
            subfolder: where in the folder or hub id the checkpoint lies.
            variant: part of the names of weight files, as "fp16" in model.fp16.safetensors.
            ignore_mismatched_sizes: give weights new values where the checkpoint's have another shape, as those of a
                head for another number of labels.
            output_loading_info: return a pair of the model and a dictionary of missing, unexpected and mismatched
                weights.
            **overrides: settings of the configuration to change, options of the constructor, and keywords of
                transformers: `torch_dtype`, `device_map` of one device, and what needs no doing here.

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
        given, overrides = loading_keywords(overrides)
        dtype, target = given.get("dtype", dtype), resolve_device(given.get("device", device))
        checkpoint = open_checkpoint(
            name_or_path, config, state_dict, revision=revision, subfolder=subfolder, variant=variant
        )
        settings, options = resolve_settings(cls, cls.config_class, checkpoint, config, overrides)
        with loading(cls):
            model = cls(settings, **options)
        imported = import_weights(
            model,
            checkpoint.tensors,
            cls.weight_names,
            tied=settings.tie_word_embeddings,
            dtype=resolve_dtype(dtype, settings, checkpoint.tensors),
            device=target,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        report_missing(model, cls.weight_names, imported, checkpoint, stacklevel=3)
        model._initialise({*imported.missing, *imported.mismatched})
        model.pack_weights()
        if checkpoint.folder is not None:
            model._load_extras(checkpoint.folder)
        model.eval()
        info = loading_info(cls.weight_names, imported, checkpoint) if output_loading_info else None
        return model if info is None else cast("Self", (model, info))

    def _load_extras(self, folder: Path) -> None:
        """Read what else a checkpoint folder holds for this model."""

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        max_shard_size: int | str = 5_000_000_000,
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        variant: str | None = None,
        **keywords: Any,
    ) -> None:
        """Write config.json and the weights, replacing what is there: all files together, or none.

        Args:
            folder: created if missing.
            max_shard_size: bytes, or a text like "5GB", beyond which the weights are split over several files with an
                index.
            is_main_process: False writes nothing, for all processes but one of several that train one model.
            state_dict: tensors to write in place of the model's, as a wrapper gathers them.
            variant: part of the names of weight files, as "fp16" in model.fp16.safetensors.
            **keywords: those of transformers that need no doing here, as `safe_serialization=True`.

        Raises:
            CheckpointError: a weight cannot be written so that loading finds it, as of a module that was quantised,
                pruned or given an adapter; nothing is written.
            FileWriteError: a file cannot be written; the old ones stay.
            InputError: an option that is unknown, or asks for what is not done here.
        """
        saving_keywords(keywords)
        limit = parse_size(max_shard_size)
        if not is_main_process:
            return
        written = dataclasses.replace(
            self.config,
            dtype=str(self.dtype).removeprefix("torch."),
            other={**self.config.other, "architectures": [type(self).__name__]},
        )
        weights = self._exported_weights(state_dict)
        index = variant_name(SAFETENSORS_INDEX, variant)
        stale = functools.partial(stale_weights, variant=variant)
        with replace_together(Path(folder), last=[index, CONFIG], stale=stale) as files:
            files.write_text(CONFIG, written.to_json_string())
            self._save_extras(files)
            write_weights(files, weights, limit, variant=variant)

    def _exported_weights(self, state_dict: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the weights for a checkpoint, held against what loading will ask for."""
        cls = next(base for base in type(self).__mro__ if base.__module__.startswith(f"{__package__}."))
        with loading(cls):
            fresh = cast("type[Self]", cls)(self.config)
        shapes = {name: tuple(tensor.shape) for name, tensor in fresh.state_dict().items()}
        names = self.weight_names
        if self.config.tie_word_embeddings:
            check_tied(self, names.tied)
        held = {canonical_name(name) for name in (self.state_dict() if state_dict is None else state_dict)}
        optional = {
            name for name in shapes if names.is_optional(name.removeprefix(f"{names.prefix}.")) and name not in held
        }
        return export_weights(
            self,
            {name: shape for name, shape in shapes.items() if name not in optional},
            closed=cls is type(self),  # a subclass may have weights of its own
            repeated=names.stored_twice(tied=self.config.tie_word_embeddings),
            state_dict=state_dict,
        )

    def _save_extras(self, files: Replacement) -> None:
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
        self.config.mark_built(type(self).__name__)  # which a copy of a configuration is not
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

    def prune_heads(self, heads_to_prune: Mapping[int, Any]) -> None:
        """Refuse: `head_mask` computes what a model without these heads does.

        Raises:
            InputError: always.
        """
        raise InputError("heads are not cut out; pass head_mask=, 0 at these heads, which gives the same numbers")

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device


def _taking_foreign_configs(init: Callable[..., None]) -> Any:
    """Have a constructor take configurations of transformers: all parts of a model are then built from one of ours."""

    @functools.wraps(init)
    def taking(self: PreTrainedModel[Any], *arguments: Any, **options: Any) -> None:
        if arguments:
            arguments = (_own_config(type(self), arguments[0]), *arguments[1:])
        elif "config" in options:
            options["config"] = _own_config(type(self), options["config"])
        init(self, *arguments, **options)

    return taking


def _own_config(cls: type[PreTrainedModel[Any]], config: Any) -> Any:
    is_foreign = not isinstance(config, Config) and hasattr(config, "model_type") and hasattr(config, "to_dict")
    return cls.config_class.of(config) if is_foreign else config


def call_inner(model: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Call a model within another: it returns an output, whatever the configuration says of the outer model's."""
    return model(*inputs, return_dict=True, **options)
