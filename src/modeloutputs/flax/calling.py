"""Calls of a model's module, compiled by themselves, and its caches."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from flax.errors import FlaxError

from ..architectures.checks import check_ids, check_length, check_position_ids
from ..errors import InputError
from .cache import CacheLayout, FlaxCache
from .calls import Arrays
from .inputs import as_array, can_compile, check_mask, facts, hides_nothing
from .libraries import flatten, jax, jnp
from .outputs import FlaxBaseModelOutputWithPast
from .refusals import (
    check_count,
    check_encoder,
    check_filled,
    check_head_mask,
    check_key,
    check_past,
    check_present,
    describe_params,
)

__all__ = ["CompiledCalls"]


class CompiledCalls:
    """A module's calls with some parameters: outside a trace they are compiled, once for each set of flags and shapes.

    Attributes:
        jit_calls: whether they are; `jax.disable_jit` turns it off as well.
    """

    jit_calls: bool = True
    keeps_cache: ClassVar[bool] = True
    """Whether a decoder of this class takes and returns `past_key_values`."""

    config: Any
    module: Any
    module_class: ClassVar[Any]
    key: Any
    params_shape_tree: Any
    _compiled: dict[Any, Callable[..., Any]]

    @property
    def params(self) -> Any:
        """The parameters."""
        raise NotImplementedError

    def _dummy_inputs(self, input_shape: tuple[int, ...]) -> dict[str, Any]:
        raise NotImplementedError

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
        if train:
            _check_dropout(dropout_rng)
        inputs = {name: as_array(name, value) for name, value in arrays.items() if value is not None}
        check_present(inputs, next(name for name in arrays if name.endswith("input_ids")))
        self._check(inputs, None if past is None else self._room(past, inputs))
        inputs = {name: value for name, value in inputs.items() if not hides_nothing(name, value)}
        static = {
            **{name: _frozen(getattr(config, name) if value is None else value) for name, value in flags.items()},
            "return_dict": config.return_dict if return_dict is None else return_dict,
            "deterministic": not train,
            **({} if method is None else {"method": method}),
        }
        params = self.params if params is None else params
        rng = dropout_rng if train else None
        compiles = self.jit_calls and can_compile(params, inputs, rng, past)
        run = self._compiled_call(static) if compiles else self._plain(static)
        try:
            return run(params, inputs, rng, past)
        except FlaxError as error:  # the module does not fit the parameters
            raise InputError(describe_params(params, self.params_shape_tree, error)) from None

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
        return jax.eval_shape(functools.partial(self.module.init, **inputs, init_cache=True), self.key)["cache"]

    def init_cache(self, batch_size: int, max_length: int) -> Any:
        """Return an empty cache with room for `max_length` positions, to pass as `past_key_values`.

        Raises:
            InputError: the model keeps no cache, or a size is no number from 1.
        """
        check_count("batch_size", batch_size)
        check_count("max_length", max_length)
        return self._cache_of(self.empty_collection(batch_size, max_length))

    def empty_collection(self, rows: int, room: int) -> Any:
        """Return an empty cache as linen's collection; see `init_cache`."""
        return self.cache_layout.without_encoder(jax.tree.map(_zeros, self._cache_shapes(rows, room)))

    def _cache_of(self, collection: Any) -> Any:
        return self.cache_layout.to_names(collection) if self._names_cache else self.cache_layout.to_layers(collection)

    @property
    def _names_cache(self) -> bool:
        """Whether the model's output has its cache as a dict."""
        output_class = getattr(self.module_class, "output_class", None)
        return output_class is FlaxBaseModelOutputWithPast

    def _room(self, past: Any, inputs: Arrays) -> int:
        """Return for how many positions a cache has room.

        Raises:
            InputError: it is not a cache, another model's, or not for this call's tokens.
        """
        layout = self.cache_layout
        if isinstance(past, FlaxCache):
            rows, heads, room, width = past[0][0].shape
            shape, filled = (rows, room, heads, width), past.cache_index
        else:
            flat = flatten(layout.to_collection(past))
            shape, filled = tuple(flat[*layout.blocks[0], "cached_key"].shape), flat[layout.filled]
        ids = inputs["decoder_input_ids"] if "decoder_input_ids" in inputs else inputs["input_ids"]
        check_past(shape, ids.shape[0], layout.sizes)
        check_filled(filled, ids.shape[-1], shape[1])
        return shape[1]

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
        check_head_mask(inputs, config.num_hidden_layers, config.num_attention_heads)
        for name in ("encoder_hidden_states", "encoder_attention_mask"):
            if name in inputs and not config.add_cross_attention:
                raise InputError(
                    f"{name} was passed to a model without cross-attention; set config.add_cross_attention"
                )

    @property
    def _position_limit(self) -> int:
        """Positions that the model can compute."""
        return self.config.max_position_embeddings

    def _check_tokens(self, inputs: Arrays, heads: int, prefix: str = "", room: int | None = None) -> None:
        """Refuse invalid ids, positions and masks, those of the arguments that begin with `prefix`."""
        config: Any = self.config
        ids = facts(inputs[f"{prefix}input_ids"])
        check_ids(ids, config.vocab_size, f"{prefix}input_ids")
        rows, length = ids.shape
        check_encoder(inputs, config.hidden_size, rows)
        if type(length) is int:  # a symbolic one of `jax.export` may be any
            check_length(length, 0, self._position_limit if room is None else room)
        if f"{prefix}position_ids" in inputs:
            check_position_ids(facts(inputs[f"{prefix}position_ids"]), self._position_limit, rows, length)
        if f"{prefix}attention_mask" in inputs:
            check_mask(inputs[f"{prefix}attention_mask"], rows, length, heads, room)


def _check_dropout(key: Any) -> None:
    if key is None:
        raise InputError("train=True applies dropout, which needs a random key; pass dropout_rng=")
    check_key("dropout_rng", key)


def _zeros(leaf: Any) -> Any:
    return jnp.zeros(leaf.shape, leaf.dtype)


def _frozen(selection: Any) -> Any:
    return tuple(cast("list[int]", selection)) if isinstance(selection, list) else selection
