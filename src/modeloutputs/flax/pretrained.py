"""The base of all models: a configuration, a linen module, and parameters; loading, saving, and compiled calls."""

import dataclasses
import functools
import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core import FrozenDict, freeze, unfreeze
from flax.traverse_util import flatten_dict

from ..architectures import Config
from ..architectures.checks import Facts, check_ids, check_length, check_position_ids
from ..architectures.weights import WeightNames
from ..errors import CheckpointError, CheckpointWarning, InputError, UsageError, nearest
from ..files.checkpoints import find_checkpoint
from ..files.shards import save_weights
from .cache import CacheLayout, FlaxCache
from .calls import Arrays
from .outputs import FlaxBaseModelOutputWithPast
from .weights import ParamPath, export_params, import_params, open_arrays, unflatten

__all__ = ["FlaxPreTrainedModel", "has_values"]

ConfigType = TypeVar("ConfigType", bound=Config)

# Arguments of other libraries' `from_pretrained` that say how to fetch, or what is found out here.
_IGNORED = ("from_pt", "cache_dir", "local_files_only", "token", "force_download", "use_auth_token", "trust_remote_code")
_ARRAYS = (jax.Array, np.ndarray)
_LOCATED = {"input_ids", "token_type_ids", "position_ids", "decoder_input_ids", "decoder_position_ids"}


class FlaxPreTrainedModel(Generic[ConfigType]):
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
    keeps_cache: ClassVar[bool] = True
    """Whether a decoder of this class takes and returns `past_key_values`."""

    config: ConfigType
    jit_calls: bool = True

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
        self._options: dict[str, Any] = dict(options)
        self._set_module()
        self.params_shape_tree: Any = jax.eval_shape(lambda key: self._new_params(key, self.input_shape), self.key)
        self.required_params: set[ParamPath] = set(flatten_dict(self.params_shape_tree))
        self._params: Any = None

    def _set_module(self) -> None:
        try:
            self.module: nn.Module = self.module_class(config=self.config, dtype=self.dtype, **self._options)  # pyright: ignore
        except TypeError as error:
            raise InputError(f"{type(self).__name__}: {error}") from None
        self._compiled: dict[Any, Callable[..., Any]] = {}

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
        given = set(flatten_dict(unfreeze(params) if isinstance(params, FrozenDict) else params))
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
        new = jax.jit(lambda key: self._new_params(key, input_shape))(rng)
        if params is None:
            return new
        given = flatten_dict(unfreeze(params) if isinstance(params, FrozenDict) else params)
        merged = unflatten({path: given.get(path, value) for path, value in flatten_dict(new).items()})
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
        if not _do_init:
            return model, params
        model._params = model.init_weights(model.key, input_shape, params) if matched.missing else params
        return model

    @property
    def _has_base(self) -> bool:
        return self.base_model_prefix in self.params_shape_tree

    @classmethod
    def _settings(
        cls, folder: Path, config: Any, overrides: Mapping[str, Any]
    ) -> tuple[ConfigType, dict[str, Any]]:
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
        if not isinstance(config, kind):
            return kind.from_dict(config.to_dict(), **changes), options
        return dataclasses.replace(config, **changes), options

    def _report(self, missing: list[str], unexpected: list[str], folder: Path) -> None:
        """Refuse a checkpoint that lacks weights of the base model; warn once of what is new and what is not used."""
        names = self.weight_names
        base = f"{names.prefix}."
        lost = [
            name
            for name in missing
            if (name.startswith(base) or not self._has_base) and not names.is_optional(name.removeprefix(base))
        ]
        if lost:
            raise CheckpointError(
                f"{str(folder)!r} lacks {len(lost)} weights of {type(self).__name__}: {', '.join(lost[:4])}"
                f"{', ...' if len(lost) > 4 else ''}; is it a checkpoint of this architecture and size?"
            )
        new = [name for name in missing if not names.is_neutral(name)]
        repeats = names.repeats(tied=True)
        unused = [
            name
            for name in unexpected
            if not names.is_ignored(name) and name not in repeats and f"{base}{name}" not in repeats
        ]
        parts = [
            *([f"new, to be trained: {', '.join(new)}"] if new else []),
            *([f"in the checkpoint but not used: {', '.join(unused)}"] if unused else []),
        ]
        if parts:
            message = f"{type(self).__name__} from {str(folder)!r}: {'; '.join(parts)}"
            warnings.warn(message, CheckpointWarning, stacklevel=3)

    def save_pretrained(
        self, folder: str | os.PathLike[str], params: Any = None, *, max_shard_size: int = 5_000_000_000
    ) -> None:
        """Write config.json and the weights, as PyTorch has them, replacing what is there.

        Args:
            folder: created if missing.
            params: the parameters to write; the model's own where not passed.
            max_shard_size: bytes beyond which the weights are split over several files with an index.
        """
        tree = self.params if params is None else params
        tree = unfreeze(tree) if isinstance(tree, FrozenDict) else tree
        weights = export_params(tree, self.weight_names, tied=self.config.tie_word_embeddings)
        name = type(self).__name__.removeprefix("Flax")
        written = dataclasses.replace(self.config, other={**self.config.other, "architectures": [name]})
        save_weights(weights, Path(folder), max_shard_size)
        written.save_pretrained(folder)

    # -- calling ------------------------------------------------------------------------------------------------------

    def _call(
        self,
        arrays: Arrays,
        params: Any,
        dropout_rng: Any,
        train: bool,
        flags: Mapping[str, Any],
        return_dict: bool | None,
        past: Any = None,
        method: str | None = None,
    ) -> Any:
        """Return the module's output.

        Args:
            arrays: array arguments, under the module's names.
            params: the parameters, or None for the model's own.
            dropout_rng: a key, or None.
            train: apply dropout.
            flags: `output_hidden_states` and `output_attentions`; None for the configuration's.
            return_dict: as requested; None for the configuration's.
            past: a cache, or None.
            method: name of the module's method that is called, in place of its call.

        Raises:
            InputError: an input that the model has no use for, or of wrong shape, dtype or range.
        """
        config: Any = self.config
        if train and dropout_rng is None:
            raise InputError("train=True applies dropout, which needs a random key; pass dropout_rng=")
        inputs = {name: _as_array(name, value) for name, value in arrays.items() if value is not None}
        room = None if past is None else self._room(past)
        self._check(inputs, room)
        inputs = {name: value for name, value in inputs.items() if not _hides_nothing(name, value)}
        static = {
            **{name: _frozen(getattr(config, name) if value is None else value) for name, value in flags.items()},
            "return_dict": config.return_dict if return_dict is None else return_dict,
            "deterministic": not train,
            **({} if method is None else {"method": method}),
        }
        params = self.params if params is None else params
        rng = dropout_rng if train else None
        compiles = self.jit_calls and _can_compile(params, inputs, rng, past)
        run = self._compiled_call(static) if compiles else self._plain(static)
        return run(params, inputs, rng, past)

    def _plain(self, static: Mapping[str, Any]) -> Callable[..., Any]:
        return_dict = static["return_dict"]
        static = {**static, "return_dict": True}

        def run(params: Any, inputs: Arrays, rng: Any, past: Any) -> Any:
            rngs = {} if rng is None else {"dropout": rng}
            variables = {"params": params}
            if past is None:
                output: Any = self.module.apply(variables, **inputs, rngs=rngs, **static)
            else:
                variables["cache"] = self.cache_layout.to_collection(past)
                output, changed = self.module.apply(variables, **inputs, rngs=rngs, mutable=["cache"], **static)
                output.past_key_values = self._cache_of(changed["cache"])
            return output if return_dict else output.to_tuple()

        return run

    def _compiled_call(self, static: Mapping[str, Any]) -> Callable[..., Any]:
        key = tuple(static.values())
        if key not in self._compiled:
            self._compiled[key] = jax.jit(self._plain(static))
        return self._compiled[key]

    # -- caches -------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def cache_layout(self) -> CacheLayout:
        """Where the arrays of a cache lie in linen's collection.

        Raises:
            InputError: the model keeps no cache.
        """
        if not self._keeps_cache:
            raise InputError(f"{type(self).__name__} keeps no cache: it is no decoder, or one without past_key_values")
        return CacheLayout.of(self._cache_shapes(1, 1))

    @property
    def _keeps_cache(self) -> bool:
        return self.keeps_cache and (self.config.is_decoder or self.config.causal or self.config.is_encoder_decoder)

    def _cache_shapes(self, rows: int, room: int) -> Any:
        """Return shapes and dtypes of the arrays of a collection."""
        inputs = self._dummy_inputs((rows, room))
        return jax.eval_shape(lambda key: self.module.init(key, **inputs, init_cache=True)["cache"], self.key)

    def init_cache(self, batch_size: int, max_length: int) -> Any:
        """Return an empty cache with room for `max_length` positions, to pass as `past_key_values`.

        Raises:
            InputError: the model keeps no cache.
        """
        layout = self.cache_layout
        shapes = self._cache_shapes(batch_size, max_length)
        return self._cache_of(layout.without_encoder(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)))

    def _cache_of(self, collection: Any) -> Any:
        return self.cache_layout.to_names(collection) if self._names_cache else self.cache_layout.to_layers(collection)

    @property
    def _names_cache(self) -> bool:
        """Whether the model's output has its cache as a dict."""
        output_class = getattr(self.module_class, "output_class", None)
        return output_class is FlaxBaseModelOutputWithPast

    def _room(self, past: Any) -> int:
        """Return for how many positions a cache has room.

        Raises:
            InputError: it is not a cache, or another model's.
        """
        layout = self.cache_layout
        flat = flatten_dict(layout.to_collection(past) if not isinstance(past, FlaxCache) else {})
        if isinstance(past, FlaxCache):
            return past[0][0].shape[2]
        path = (*layout.blocks[0], "cached_key")
        if path not in flat:
            raise InputError(f"past_key_values is not a cache of {type(self).__name__}; make one with init_cache")
        return cast("Any", flat[path]).shape[1]

    def _check(self, inputs: Arrays, room: int | None = None) -> None:
        """Refuse inputs that the module would fail on, or answer with NaN.

        Args:
            inputs: the arrays by name.
            room: positions that the cache has room for; None without one.
        """
        config: Any = self.config
        self._check_tokens(inputs, config.num_attention_heads, room=room)
        ids = inputs["input_ids"]
        if "token_type_ids" in inputs:
            check_ids(facts(inputs["token_type_ids"]), config.type_vocab_size, "token_type_ids", tuple(ids.shape))
        for name in ("encoder_hidden_states", "encoder_attention_mask"):
            if name in inputs and not config.add_cross_attention:
                raise InputError(f"{name} was passed to a model without cross-attention; set config.add_cross_attention")

    def _check_tokens(self, inputs: Arrays, heads: int, prefix: str = "", room: int | None = None) -> None:
        """Refuse invalid ids, positions and masks, those of the arguments that begin with `prefix`."""
        config: Any = self.config
        ids = facts(inputs[f"{prefix}input_ids"])
        check_ids(ids, config.vocab_size, f"{prefix}input_ids")
        rows, length = ids.shape
        check_length(length, 0, config.max_position_embeddings if room is None else room)
        if f"{prefix}position_ids" in inputs:
            check_position_ids(facts(inputs[f"{prefix}position_ids"]), config.max_position_embeddings, rows, length)
        if f"{prefix}attention_mask" in inputs:
            check_mask(inputs[f"{prefix}attention_mask"], rows, length, heads, room)


def facts(array: Any) -> Facts:
    """Describe an array to the checks; values are read where they are known and on the CPU."""
    dtype = np.dtype(array.dtype)
    kind = "floating" if jnp.issubdtype(dtype, jnp.floating) else "index" if dtype.kind in "iu" else "other"
    bounds = None
    if kind == "index" and array.size and has_values(array):
        values = np.asarray(array)
        bounds = (values.min().item(), values.max().item())
    return Facts(tuple(array.shape), array.dtype, kind, bounds)


def check_mask(mask: Any, rows: int, length: int, heads: int, room: int | None = None) -> None:
    """Refuse a mask that is not (rows, keys), (rows, length, keys) or (rows or 1, heads or 1, length, keys).

    Args:
        mask: what was passed.
        rows: rows of the batch.
        length: positions of the call; they are the keys, without a cache.
        heads: of attention.
        room: positions that the cache has room for. A mask (rows, keys) may then have any number of keys up to it.

    Raises:
        InputError: naming its shape.
    """
    shape, keys = tuple(mask.shape), length if room is None else room
    fits = (
        shape == (rows, keys)
        or (room is not None and len(shape) == 2 and shape[0] == rows and length <= shape[1] <= room)
        or shape == (rows, length, keys)
        or (len(shape) == 4 and shape[0] in (1, rows) and shape[1] in (1, heads) and shape[2:] == (length, keys))
    )
    if not fits:
        raise InputError(
            f"attention mask has shape {shape}; expected (batch, keys) = {(rows, keys)}, "
            f"(batch, seq, keys) = {(rows, length, keys)} or (batch, heads, seq, keys)"
        )


def _can_compile(*trees: Any) -> bool:
    """Return whether a call is outside a trace, and its leaves are arrays: objects of users' own may not be."""
    return all(isinstance(leaf, _ARRAYS) and not isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def has_values(array: Any) -> bool:
    """Return whether an array's values are known, and read at no cost: not in a trace, nor on an accelerator."""
    if isinstance(array, np.ndarray):
        return True
    return not isinstance(array, jax.core.Tracer) and {d.platform for d in array.devices()} == {"cpu"}


def _as_array(name: str, value: Any) -> Any:
    """Return an argument as an array that compiled functions take; NumPy's int64 as int32.

    Raises:
        InputError: it is no array.
    """
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        advice = ' (tokenizer(..., return_tensors="np"))' if name == "input_ids" else ""
        raise InputError(f"{name} is a {type(value).__name__}, not an array; pass a NumPy or JAX array{advice}")
    if isinstance(value, np.ndarray) and value.dtype in (np.int64, np.uint32, np.uint64) and name in _LOCATED:
        low, high = (value.min(), value.max()) if value.size else (0, 0)
        return value.astype(np.int32) if -(2**31) <= low and high < 2**31 else value
    return value


def _hides_nothing(name: str, value: Any) -> bool:
    """Return whether a mask is known to hide nothing; it is left out then, and costs nothing."""
    return name.endswith("attention_mask") and has_values(value) and bool((np.asarray(value) != 0).all())


def _frozen(selection: Any) -> Any:
    return tuple(selection) if isinstance(selection, list) else selection


def _cast(params: Any, dtype: Any, mask: Any) -> Any:
    def cast_one(value: Any, chosen: Any = True) -> Any:
        return value.astype(dtype) if chosen and jnp.issubdtype(value.dtype, jnp.floating) else value

    return jax.tree.map(cast_one, params) if mask is None else jax.tree.map(cast_one, params, mask)
