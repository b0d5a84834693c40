"""The base of all models: a configuration, a linen module, and parameters; loading, saving, and compiled calls."""

import dataclasses
import inspect
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from flax import linen as nn
from flax.core import FrozenDict, freeze
from flax.serialization import to_bytes  # pyright: ignore[reportUnknownVariableType]

from ..architectures import Config
from ..architectures.weights import WeightNames, report_missing
from ..errors import InputError, UsageError, nearest
from ..files.checkpoints import SAFETENSORS_INDEX, find_checkpoint
from ..files.flax_msgpack import MSGPACK
from ..files.folders import CONFIG
from ..files.replacing import replace_together
from ..files.shards import stale_weights, write_weights
from .generation import FlaxGenerationMixin
from .libraries import Path as TreePath
from .libraries import flatten, jax, jnp, unflatten
from .weights import export_params, import_params, open_arrays

__all__ = ["ConfigType", "FlaxPreTrainedModel"]

ConfigType = TypeVar("ConfigType", bound=Config)

# Arguments of other libraries' `from_pretrained` that say how to fetch, or what is found out here.
_IGNORED = (
    "from_pt",
    "cache_dir",
    "local_files_only",
    "token",
    "force_download",
    "use_auth_token",
    "trust_remote_code",
)


class FlaxPreTrainedModel(FlaxGenerationMixin, Generic[ConfigType]):
    """Base of all models: not a linen module, but the holder of one and of its parameters.

    Calls outside a trace are compiled, once for each set of flags and shapes; `jit_calls = False` and
    `jax.disable_jit` turn that off.

    Attributes:
        config: the configuration.
        module: the linen module, for `module.apply({"params": params}, ...)` and for use in others.
        params: its parameters, a nested dict under the names of the checkpoint.
        dtype: of the computation.
        input_shape: of the inputs that new parameters are made with.
        key: the random key that new parameters are made with.
        required_params: paths of all parameters of the module.
        params_shape_tree: shapes and dtypes of all parameters.
        jit_calls: whether calls outside a trace are compiled.
    """

    config_class: ClassVar[type[Config]]
    module_class: ClassVar[type[nn.Module]]
    weight_names: ClassVar[WeightNames]
    base_model_prefix: ClassVar[str] = ""
    main_input_name: ClassVar[str] = "input_ids"

    config: ConfigType

    def __init__(
        self,
        config: ConfigType,
        input_shape: tuple[int, ...] = (1, 1),
        seed: int = 0,
        dtype: Any = jnp.float32,
        _do_init: bool = True,
        **options: Any,
    ) -> None:
        if not isinstance(config, self.config_class):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{type(self).__name__} takes a {self.config_class.__name__}, got {type(config).__name__}")
        self._set_up(config, input_shape, seed, dtype, options)
        self._params = self.init_weights(self.key, input_shape) if _do_init else None

    def _set_up(
        self, config: ConfigType, input_shape: tuple[int, ...], seed: int, dtype: Any, options: Mapping[str, Any]
    ) -> None:
        self.config, self.input_shape, self.key, self.dtype = config, input_shape, jax.random.PRNGKey(seed), dtype
        config.mark_built(type(self).__name__)  # compiled calls would not see it change
        self._options: dict[str, Any] = dict(options)
        self._set_module()
        self.params_shape_tree: Any = jax.eval_shape(partial(self._new_params, input_shape=input_shape), self.key)
        self.required_params: set[TreePath] = set(flatten(self.params_shape_tree))
        self._params: Any = None

    def _set_module(self) -> None:
        try:
            self.module = self.module_class(config=self.config, dtype=self.dtype, **self._options)  # pyright: ignore
        except TypeError as error:
            raise InputError(f"{type(self).__name__}: {error}") from None
        self._compiled = {}

    # -- parameters ---------------------------------------------------------------------------------------------------

    @property
    def params(self) -> Any:
        """The parameters, as they were given: a nested dict of arrays.

        Raises:
            UsageError: the model was made with `_do_init=False`, so that its caller keeps them.
        """
        if self._params is None:
            raise UsageError(
                "this model keeps no params, since it was made with _do_init=False; pass params= to each call"
            )
        return self._params

    @params.setter
    def params(self, params: Any) -> None:
        given = set(flatten(params))
        missing = self.required_params - given
        if missing:
            raise InputError(
                f"params lacks {len(missing)} parameters: {', '.join('/'.join(p) for p in sorted(missing)[:4])}"
            )
        self._params = params

    def _new_params(self, key: Any, input_shape: tuple[int, ...]) -> Any:
        keys = dict(zip(("params", "dropout"), jax.random.split(key), strict=True))
        return self.module.init(keys, **self._dummy_inputs(input_shape))["params"]

    def _dummy_inputs(self, input_shape: tuple[int, ...]) -> dict[str, Any]:
        """Return inputs that reach all parameters."""
        inputs = {"input_ids": jnp.zeros(input_shape, jnp.int32)}
        if self.config.add_cross_attention:
            width = cast("Any", self.config).hidden_size
            inputs["encoder_hidden_states"] = jnp.zeros((input_shape[0], 1, width), self.dtype)
        return inputs

    def init_weights(self, rng: Any, input_shape: tuple[int, ...], params: Any = None) -> Any:
        """Return parameters to train from, those in `params` kept.

        Args:
            rng: a random key.
            input_shape: (B, S) of the inputs that they are made with.
            params: a nested dict or FrozenDict with some of the parameters, or None.

        Returns:
            a nested dict, or a FrozenDict where `params` is one.
        """
        # As one compiled function: by itself each parameter would be compiled alone.
        new = jax.jit(partial(self._new_params, input_shape=input_shape))(rng)
        if params is None:
            return new
        given = flatten(params)
        merged = unflatten({path: given.get(path, value) for path, value in flatten(new).items()})
        return freeze(merged) if isinstance(params, FrozenDict) else merged

    def to_bf16(self, params: Any, mask: Any = None) -> Any:
        """Return parameters in bfloat16, where they are floating point and `mask`, a tree of booleans, is True."""
        return _cast(params, jnp.bfloat16, mask)

    def to_fp16(self, params: Any, mask: Any = None) -> Any:
        """Return parameters in float16; see `to_bf16`."""
        return _cast(params, jnp.float16, mask)

    def to_fp32(self, params: Any, mask: Any = None) -> Any:
        """Return parameters in float32; see `to_bf16`."""
        return _cast(params, jnp.float32, mask)

    def enable_gradient_checkpointing(self) -> None:
        """Compute the values within layers again in the backward pass, instead of keeping them."""
        self._options["gradient_checkpointing"] = True
        self._set_module()

    # -- loading and saving -------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        dtype: Any = jnp.float32,
        *,
        config: Any = None,
        seed: int = 0,
        input_shape: tuple[int, ...] = (1, 1),
        _do_init: bool = True,
        revision: str | None = None,
        **overrides: Any,
    ) -> Any:
        """Load a model from a checkpoint folder or a hub id; `from_pt=True` is accepted and not needed.

        Args:
            name_or_path: folder with config.json and weights, or a hub id.
            dtype: of the computation; parameters keep the checkpoint's.
            config: configuration to use in place of the checkpoint's; another library's is read by its `to_dict`.
            seed: of the parameters that the checkpoint lacks.
            input_shape: of the inputs that these are made with.
            _do_init: keep the parameters in the model; else they are returned beside it, those that the checkpoint
                lacks left out.
            revision: branch, tag or commit, of a hub id.
            **overrides: settings of the configuration to change, and options of the module.

        Returns:
            the model, or with `_do_init=False` the model and its parameters.

        Raises:
            CheckpointNotFoundError: the folder, its config.json, its weights or one of their shards is not there.
            CheckpointError: another architecture, weights missing or of wrong shape.
            FileFormatError: a file is truncated or corrupt.
            InputError: an unknown setting or option.
        """
        folder = find_checkpoint(name_or_path, revision)
        settings, options = cls._settings(folder, config, overrides)
        model = cls(settings, input_shape, seed, dtype, _do_init=False, **options)
        source = open_arrays(folder)
        tied = settings.tie_word_embeddings
        found, matched = import_params(
            model.params_shape_tree, source, cls.weight_names, has_base=model._has_base, tied=tied
        )
        model._report(matched.missing, matched.unexpected, folder)
        params = unflatten(found)
        model._load_extras(folder)
        if not _do_init:
            return model, params
        model._params = model.init_weights(model.key, input_shape, params) if matched.missing else params
        return model

    @property
    def _has_base(self) -> bool:
        return self.base_model_prefix in self.params_shape_tree

    @classmethod
    def _settings(cls, folder: Path, config: Any, overrides: Mapping[str, Any]) -> tuple[ConfigType, dict[str, Any]]:
        """Return the configuration, and the options among `overrides` that the module takes."""
        kind = cast("type[ConfigType]", cls.config_class)
        overrides = {name: value for name, value in overrides.items() if name not in _IGNORED}
        changes = {name: value for name, value in overrides.items() if kind.has_setting(name)}
        options = {name: value for name, value in overrides.items() if name not in changes}
        known = set(inspect.signature(cls.module_class).parameters) - {"config", "dtype", "parent", "name"}
        for name in options:
            if name not in known:
                choices = [*kind.setting_names(), *known]
                raise InputError(f"{cls.__name__} has no setting {name!r}{nearest(name, choices)}")
        if config is None:
            return kind.from_pretrained(folder, **changes), options
        return dataclasses.replace(kind.of(config), **changes), options

    def _report(self, missing: list[str], unexpected: list[str], folder: Path) -> None:
        """Refuse a checkpoint that lacks weights of the base model; warn once of what is new and what is not used."""
        names = self.weight_names
        repeats = {*names.repeats(tied=True), *names.fallbacks.values()}
        unused = [
            name
            for name in unexpected
            if not names.is_ignored(name) and name not in repeats and f"{names.prefix}.{name}" not in repeats
        ]
        model, checkpoint = type(self).__name__, repr(str(folder))
        report_missing(names, model, checkpoint, missing, has_base=self._has_base, unused=unused, stacklevel=3)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        params: Any = None,
        *,
        max_shard_size: int = 5_000_000_000,
        safe_serialization: bool = True,
    ) -> None:
        """Write config.json and the weights, as PyTorch has them, replacing what is there.

        Args:
            folder: created if missing.
            params: the parameters to write; the model's own where not passed.
            max_shard_size: bytes beyond which the weights are split over several files with an index.
            safe_serialization: write model.safetensors, which the other frameworks load; else flax_model.msgpack, which
                the Flax models of transformers 4 load.
        """
        tree = self.params if params is None else params
        weights = export_params(tree, self.weight_names, tied=self.config.tie_word_embeddings)
        name = type(self).__name__.removeprefix("Flax")
        written = dataclasses.replace(self.config, other={**self.config.other, "architectures": [name]})
        with replace_together(Path(folder), last=[SAFETENSORS_INDEX, CONFIG], stale=stale_weights) as files:
            if safe_serialization:
                write_weights(files, weights, max_shard_size)
            else:
                files.path(MSGPACK).write_bytes(to_bytes(jax.device_get(unflatten(flatten(tree)))))
            self._save_extras(files)
            files.write_text(CONFIG, written.to_json_string())


def _cast(params: Any, dtype: Any, mask: Any) -> Any:
    def cast_one(value: Any, chosen: Any = True) -> Any:
        return value.astype(dtype) if chosen and jnp.issubdtype(value.dtype, jnp.floating) else value

    return jax.tree.map(cast_one, params) if mask is None else jax.tree.map(cast_one, params, mask)
