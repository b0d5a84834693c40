"""The base of all models: a configuration, a linen module, and parameters; loading, saving, and compiled calls."""

import dataclasses
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from flax import linen as nn
from flax.core import FrozenDict, freeze

from ..architectures import Config
from ..architectures.weights import WeightNames, check_layers
from ..arrays.dtypes import dtype_name
from ..errors import InputError, UsageError, first_line
from ..files.checkpoints import SAFETENSORS_INDEX
from ..files.flax_msgpack import MSGPACK_INDEX, stale_flax_weights, write_flax_weights
from ..files.folders import CONFIG
from ..files.replacing import replace_together
from ..files.shards import parse_size, write_weights
from .generation import FlaxGenerationMixin
from .libraries import Path as TreePath
from .libraries import flatten, jax, jnp, unflatten
from .loading import check_options, open_folder, report, resolve_settings, saving_keywords
from .refusals import check_key, describe_missing, leaves_of, naming_unknown
from .weights import export_params, import_params, open_weights

__all__ = ["ConfigType", "FlaxPreTrainedModel"]

ConfigType = TypeVar("ConfigType", bound=Config)


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
    framework: ClassVar[str] = "flax"
    unties: ClassVar[Mapping[TreePath, TreePath]] = {}
    """Kernels that transformers 4 has whatever `tie_word_embeddings` says, and the tables that they then repeat."""

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
        self._set_up(cast("ConfigType", self.config_class.of(config)), input_shape, seed, dtype, options)
        self._params = self.init_weights(self.key, input_shape) if _do_init else None

    def _set_up(
        self, config: ConfigType, input_shape: tuple[int, ...], seed: int, dtype: Any, options: Mapping[str, Any]
    ) -> None:
        check_options(type(self), self.config_class, options)
        if not isinstance(input_shape, (tuple, list)) or len(input_shape) < 2:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"input_shape is {input_shape!r:.60}; expected (batch, seq)")
        config.revalidate()
        self.config, self.input_shape, self.key = config, input_shape, _key(seed)
        self.dtype: Any = _floating(dtype)
        config.mark_built(type(self).__name__)  # compiled calls would not see it change
        self._options: dict[str, Any] = dict(options)
        self._set_module()
        self.params_shape_tree: Any = jax.eval_shape(partial(self._new_params, input_shape=input_shape), self.key)
        self.required_params: set[TreePath] = set(flatten(self.params_shape_tree))
        self._params: Any = None

    def _set_module(self) -> None:
        self.module = self.module_class(config=self.config, dtype=self.dtype, **self._options)  # pyright: ignore
        self._compiled = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("__call__", "encode", "decode"):
            if name in vars(cls):
                setattr(cls, name, naming_unknown(vars(cls)[name]))

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
        missing = self.required_params - set(leaves_of(params))
        if missing:
            raise InputError(describe_missing(missing))
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
        check_key("rng", rng)
        given = {} if params is None else leaves_of(params)
        merged = {path: value for path, value in given.items() if path in self.required_params}
        if self.required_params - set(given):

            def new(key: Any) -> dict[TreePath, Any]:
                made = flatten(self._new_params(key, input_shape))
                return {path: value for path, value in made.items() if path not in given}

            # As one compiled function: by itself each parameter would be compiled alone, and those given made too.
            merged |= jax.jit(new)(rng)
        tree = unflatten(merged)
        return freeze(tree) if isinstance(params, FrozenDict) else tree

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
        subfolder: str = "",
        variant: str | None = None,
        ignore_mismatched_sizes: bool = False,
        **overrides: Any,
    ) -> Any:
        """Load a model from a checkpoint folder or a hub id.

        Weights are read from safetensors files in the layout of PyTorch, Flax or TensorFlow, else from
        flax_model.msgpack, else, where PyTorch is installed, from pytorch_model.bin.

        Args:
            name_or_path: folder with config.json and weights, or a hub id.
            dtype: of the computation; parameters keep the checkpoint's.
            config: configuration to use in place of the checkpoint's; another library's is read by its `to_dict`.
            seed: of the parameters that the checkpoint lacks.
            input_shape: of the inputs that these are made with.
            _do_init: keep the parameters in the model; else they are returned beside it, those that the checkpoint
                lacks left out.
            revision: branch, tag or commit, of a hub id.
            subfolder: where in the folder or hub id the checkpoint lies.
            variant: part of the names of weight files, as "fp16" in model.fp16.safetensors.
            ignore_mismatched_sizes: give parameters new values where the checkpoint's have another shape, as those of a
                head for another number of labels.
            **overrides: settings of the configuration to change, options of the module, as
                `gradient_checkpointing=True`, and keywords of transformers that need no doing here, as `from_pt=True`
                and those that say how to fetch.

        Returns:
            the model, or with `_do_init=False` the model and its parameters.

        Raises:
            CheckpointNotFoundError: the folder, its config.json, its weights or one of their shards is not there.
            CheckpointError: another architecture, weights missing or of wrong shape.
            FileFormatError: a file is truncated or corrupt.
            InputError: an unknown setting or option.
            MissingDependencyError: only pytorch_model.bin is there, and PyTorch is not installed.
        """
        folder = open_folder(name_or_path, revision, subfolder, config)
        kind = cast("type[ConfigType]", cls.config_class)
        settings, options = resolve_settings(cls, kind, folder, config, overrides)
        source = open_weights(folder, variant)
        check_layers(settings, repr(str(folder)), len(source))
        model = cls(settings, input_shape, seed, dtype, _do_init=False, **options)
        imported = import_params(
            model.params_shape_tree,
            source,
            cls.weight_names,
            has_base=model._has_base,
            tied=settings.tie_word_embeddings,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        report(cls.__name__, cls.weight_names, imported, folder, has_base=model._has_base)
        model._load_extras(folder)
        params = unflatten(imported.params)
        if not _do_init:
            return model, params
        model._params = model.init_weights(model.key, input_shape, params)
        return model

    @property
    def _has_base(self) -> bool:
        return self.base_model_prefix in self.params_shape_tree

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        params: Any = None,
        *,
        max_shard_size: int | str = 5_000_000_000,
        safe_serialization: bool = True,
        **keywords: Any,
    ) -> None:
        """Write config.json and the weights, as PyTorch has them, replacing what is there: all files, or none.

        Weights of an earlier checkpoint are removed, those in MessagePack too: other readers would take them for these.

        Args:
            folder: created if missing.
            params: the parameters to write; the model's own where not passed.
            max_shard_size: bytes, or a text like "5GB", beyond which the weights are split over several files with an
                index.
            safe_serialization: write model.safetensors, which the other frameworks load; else flax_model.msgpack, which
                the Flax models of transformers 4 load.
            **keywords: those of transformers that need no doing here, as `token`.

        Raises:
            FileWriteError: a file cannot be written; the old ones stay.
            InputError: an option that is unknown, or asks for what is not done here.
        """
        saving_keywords(keywords)
        limit = parse_size(max_shard_size)
        tree = self.params if params is None else params
        leaves = leaves_of(tree)
        name = type(self).__name__.removeprefix("Flax")
        dtypes = (dtype_name(value.dtype) for value in leaves.values() if jnp.issubdtype(value.dtype, jnp.floating))
        other = {**self.config.other, "architectures": [name]}
        written = dataclasses.replace(self.config, dtype=next(dtypes, self.config.dtype), other=other)
        last = [SAFETENSORS_INDEX, MSGPACK_INDEX, CONFIG]
        with replace_together(Path(folder), last=last, stale=stale_flax_weights) as files:
            if safe_serialization:
                weights = export_params(tree, self.weight_names, tied=self.config.tie_word_embeddings)
                write_weights(files, weights, limit)
            else:
                write_flax_weights(files, self._leaves_for_flax(leaves), limit)
            self._save_extras(files)
            files.write_text(CONFIG, written.to_json_string())

    def _leaves_for_flax(self, leaves: Mapping[TreePath, Any]) -> dict[str, Any]:
        """Return parameters by path as the Flax models of transformers 4 expect them in their files."""
        tied = {path: leaves[source].T for path, source in self.unties.items() if path not in leaves}
        return {"/".join(path): value for path, value in {**leaves, **tied}.items()}


def _key(seed: Any) -> Any:
    try:
        return jax.random.PRNGKey(seed)
    except TypeError:
        raise InputError(f"seed is {seed!r:.60}; expected an integer") from None


def _floating(dtype: Any) -> Any:
    """Return a dtype of computation as it was passed; by name, JAX's.

    Raises:
        InputError: it is none, or not of floating point.
    """
    try:
        is_floating = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        is_floating = False
    if not is_floating or dtype is None:
        raise InputError(f"dtype is {dtype!r}; expected a floating point type of JAX, as jnp.bfloat16")
    return jnp.dtype(dtype) if isinstance(dtype, str) else dtype


def _cast(params: Any, dtype: Any, mask: Any) -> Any:
    def cast_one(value: Any, chosen: Any = True) -> Any:
        return value.astype(dtype) if chosen and jnp.issubdtype(value.dtype, jnp.floating) else value

    if mask is None:
        return jax.tree.map(cast_one, params)
    try:
        return jax.tree.map(cast_one, params, mask)
    except ValueError as error:
        raise InputError(f"mask is no tree like params: {first_line(error)}") from None
