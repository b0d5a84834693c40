"""The stack of layers that all models share: one checked call, the layers' common inputs, and the result."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from ..architectures.layers import LayerPaths, LayerSettings
from ..errors import InputError
from ..output import ModelOutput
from .attention import (
    AttentionMask,
    PositionEmbeddings,
    build_mask,
    check_mask,
    checked_head_mask,
    compute_dtype,
)
from .cache import Cache, CacheUpdate, PastKeyValues, check_cache, cross_length, past_length
from .checkpointing import Checkpointing
from .inputs import check_embeds, check_length
from .layer import Layer, LayerContext, LayerResult
from .layers import Conv1D, LayerSelection, select_layers
from .plain import has_hooks
from .products import is_eager_inference
from .results import Made, nothing_made, result_of
from .row_chunks import chunk_size, run_in_chunks
from .stack_runner import StackRunner, runner_of, without_runner

__all__ = ["Call", "Stack", "StackHolder", "StackResult", "run_stack"]

Output = TypeVar("Output", bound=ModelOutput)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One checked call of a stack: its sizes, its inputs beside the embeddings, and what it returns."""

    rows: int
    length: int
    """Positions of this call."""
    limit: int
    """Positions that the model can hold."""
    attention_mask: Tensor | None = None
    encoder_hidden_states: Tensor | None = None
    encoder_attention_mask: Tensor | None = None
    past_key_values: PastKeyValues | None = None
    use_cache: bool = False
    keep_hidden: list[bool]
    """For the embeddings and each layer, whether its states are returned."""
    keep_attention: list[bool]
    """For each layer, whether its attention weights are returned."""
    head_mask: Tensor | None = None
    """Factors of heads, (layers, 1, heads, 1, 1)."""
    cross_attn_head_mask: Tensor | None = None
    checkpointing: Checkpointing | None = None
    made: Made = field(default_factory=nothing_made)
    """See `modeloutputs.torch.results`."""

    @property
    def past(self) -> int:
        """Positions in the cache before this call."""
        return past_length(self.past_key_values)

    @property
    def masks_heads(self) -> bool:
        """Whether weights of heads are multiplied, for which attention is written out."""
        return self.head_mask is not None or self.cross_attn_head_mask is not None

    @property
    def returns_only_states(self) -> bool:
        """Whether nothing is returned but the last hidden state and the cache."""
        return not (any(self.keep_hidden) or any(self.keep_attention))

    def context(
        self, settings: LayerSettings, hidden: Tensor, position_embeddings: PositionEmbeddings | None
    ) -> LayerContext:
        """Return the inputs of the layers that are given the embeddings `hidden` (B, S, hidden)."""
        keys = self.past + self.length
        mask = build_mask(self.attention_mask, self.length, keys, hidden, causal=settings.causal)
        cache = None
        if self.past_key_values is not None or self.use_cache:
            cache = CacheUpdate(self.past_key_values, self.length, self.limit, kept=self.use_cache)
        encoder_mask = self._encoder_mask(hidden)
        heads = self.head_mask, self.cross_attn_head_mask
        encoded = self.encoder_hidden_states
        return LayerContext(mask, encoded, encoder_mask, cache, position_embeddings, self.made, *heads)

    def _encoder_mask(self, hidden: Tensor) -> AttentionMask:
        states = self.encoder_hidden_states
        keys = cross_length(self.past_key_values) if states is None else states.shape[1]
        if keys is None:
            return AttentionMask()
        return build_mask(self.encoder_attention_mask, self.length, keys, hidden, causal=False)


class StackResult(NamedTuple):
    """The result of a stack, under the names of output classes; what was not asked for is None."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor | None, ...] | None = None
    attentions: tuple[Tensor | None, ...] | None = None
    cross_attentions: tuple[Tensor | None, ...] | None = None
    past_key_values: PastKeyValues | None = None

    def as_output(self, cls: type[Output], **fields: Any) -> Output:
        """Return an output of `cls`, whose other fields are `fields`."""
        values = self._asdict()
        return cls(**{name: values[name] for name in cls.__output_fields__ if name in values}, **fields)


class Stack(nn.ModuleList):
    """Layers that run one after the other."""

    def __init__(self, settings: LayerSettings, layers: Iterable[nn.Module]) -> None:
        super().__init__(layers)
        self.settings = settings

    def __getitem__(self, index: Any) -> Any:
        """Return a layer, or the stack of some layers for a slice."""
        layers = list(self._modules.values())[index] if isinstance(index, slice) else super().__getitem__(index)
        return type(self)(self.settings, cast("list[nn.Module]", layers)) if isinstance(index, slice) else layers

    @classmethod
    def of_layers(cls, settings: LayerSettings, paths: LayerPaths, count: int) -> "Stack":
        """Return a stack of `count` new layers."""
        return cls(settings, (Layer(settings, paths, i) for i in range(count)))

    def check(
        self,
        rows: int,
        length: int,
        limit: int,
        *,
        attention_mask: Tensor | None = None,
        past_key_values: PastKeyValues | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        output_hidden_states: LayerSelection = False,
        output_attentions: LayerSelection = False,
        head_mask: Tensor | None = None,
        cross_attn_head_mask: Tensor | None = None,
        **given: Any,
    ) -> Call:
        """Check a call's inputs before anything is computed.

        Args:
            rows: rows of the batch.
            length: positions of this call.
            limit: positions that the model can hold.
            attention_mask: see `modeloutputs.torch.arguments`, or None.
            past_key_values: the cache, or None.
            encoder_hidden_states: (B, E, hidden), or None.
            encoder_attention_mask: (B, E), or None.
            output_hidden_states: layers whose states are returned.
            output_attentions: layers whose attention weights are returned.
            head_mask: factors on the weights of each head, (heads,) or (layers, heads), or None.
            cross_attn_head_mask: the same of cross-attention.
            **given: the other fields of `Call`.

        Raises:
            InputError: an input of wrong shape, dtype or range, or that this stack has no use for.
        """
        self._check_cache(past_key_values, rows)
        past = past_length(past_key_values)
        check_length(length, past, limit)
        check_mask(attention_mask, rows, length, past + length, self.settings.heads)
        encoded = self._check_encoder(encoder_hidden_states, encoder_attention_mask, past_key_values, rows)
        if encoded is not None:
            check_mask(encoder_attention_mask, rows, length, encoded)
        return Call(
            rows=rows,
            length=length,
            limit=limit,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            keep_hidden=select_layers(output_hidden_states, len(self) + 1, "output_hidden_states"),
            keep_attention=select_layers(output_attentions, len(self), "output_attentions"),
            head_mask=checked_head_mask(head_mask, len(self), self.settings.heads, "head_mask"),
            cross_attn_head_mask=checked_head_mask(
                cross_attn_head_mask, len(self), self.settings.heads, "cross_attn_head_mask"
            ),
            **given,
        )

    def _check_cache(self, past: PastKeyValues | None, rows: int) -> None:
        if past is None:
            return
        settings = self.settings
        if not settings.causal:
            raise InputError("past_key_values was passed to an encoder; set config.is_decoder=True for a decoder")
        weight = self.key_weight()
        shape = (rows, settings.key_heads, settings.head_width)
        # Weights that wait elsewhere until they are used, as accelerate's do, say nothing of the device.
        device = None if weight.is_meta else weight.device
        check_cache(past, len(self), shape, compute_dtype(weight), device)
        if cross_length(past) is not None and not settings.cross_attention:
            raise InputError("past_key_values holds an encoder's keys, but this model has no cross-attention")

    def key_weight(self) -> Tensor:
        """Return a weight on the device, and of the dtype, of the keys."""
        layer: Any = self[0] if len(self) else None
        paths: LayerPaths | None = getattr(layer, "paths", None)
        if paths is not None:
            key = reduce(lambda module, name: getattr(module, name, None), paths.attention.key.split("."), layer)
            # Weights that somebody quantised are integers. Walking all parameters takes as long as a small layer.
            if isinstance(key, (nn.Linear, Conv1D)) and key.weight.is_floating_point():
                return key.weight
        return next(weight for weight in self.parameters() if weight.is_floating_point())

    def _check_encoder(
        self, states: Tensor | None, mask: Tensor | None, past: PastKeyValues | None, rows: int
    ) -> int | None:
        """Check an encoder's states and return how many positions there are of it, cached or not; None if none."""
        cached = cross_length(past)
        if states is None:
            if mask is not None and cached is None:
                raise InputError("encoder_attention_mask was passed without encoder_hidden_states; pass both")
            return cached
        if not self.settings.cross_attention:
            raise InputError(
                "encoder_hidden_states was passed to a model without cross-attention; "
                "set config.is_decoder=True and config.add_cross_attention=True"
            )
        check_embeds(states, self.settings.hidden_size, "encoder_hidden_states", rows)
        if cached is not None and cached != states.shape[1]:
            raise InputError(
                f"encoder_hidden_states has {states.shape[1]} positions, but past_key_values was made with {cached}; "
                "pass the same encoder output in every step"
            )
        return states.shape[1]

    def forward(
        self,
        hidden: Tensor,
        call: Call,
        *,
        position_embeddings: PositionEmbeddings | None = None,
        final_norm: nn.Module | None = None,
    ) -> StackResult:
        """Run all layers.

        Args:
            hidden: the embeddings (B, S, hidden).
            call: the result of `check`.
            position_embeddings: rotary positions.
            final_norm: applied to the last layer's result, which it replaces as the last hidden state.
        """
        context = call.context(self.settings, hidden, position_embeddings)
        runner = self._runner(call, hidden)
        size = chunk_size(hidden)
        independent = not (any(call.keep_attention) or call.masks_heads) and context.cache is None
        independent = independent and context.encoder_hidden_states is None
        if size is not None and len(self) and independent and (runner is not None or not has_hooks(self)):
            result = self._run_in_chunks(hidden, call, context, final_norm, size, runner)
        elif runner is not None:
            result = self._run_plainly(runner, hidden, call, context, final_norm)
        else:
            result = self._run(hidden, call, context, final_norm)
        call.made.parts.append(result)
        return result

    def _run(self, hidden: Tensor, call: Call, context: LayerContext, final_norm: nn.Module | None) -> StackResult:
        states = [hidden if call.keep_hidden[0] else None]
        attended: list[tuple[Any, ...]] = []  # the results without the states, which nobody may have asked for
        flags = zip(call.keep_hidden[1:], call.keep_attention, strict=True)
        for i, (layer, (keep, with_weights)) in enumerate(zip(self, flags, strict=True)):
            checkpointing = call.checkpointing
            run = layer if checkpointing is None or not checkpointing.covers(i) else partial(checkpointing.call, layer)
            given = {"context": context.at(i), "with_weights": with_weights}  # by name: hooks see the states alone
            result = result_of(LayerResult, call.made, run, hidden, **given)
            hidden = result.hidden
            states.append(hidden if keep else None)
            attended.append(result[1:])
        if final_norm is not None:
            hidden = final_norm(hidden)
            states[-1] = hidden if call.keep_hidden[-1] else None
        return StackResult(
            hidden,
            tuple(states) if any(call.keep_hidden) else None,
            tuple(weights for weights, _, _ in attended) if any(call.keep_attention) else None,
            _present(weights for _, weights, _ in attended),
            _extended_cache(call, context, [present for _, _, present in attended]),
        )

    def _runner(self, call: Call, hidden: Tensor) -> StackRunner | None:
        """Return what runs the layers without calling them, if it can do this call."""
        # Under autocast sums have another precision than products, which the runner does not tell apart.
        if not is_eager_inference() or torch.is_autocast_enabled(hidden.device.type):
            return None
        if any(call.keep_attention) or call.masks_heads or not hidden.numel():
            return None
        cache = call.past_key_values
        if call.length == 1 and call.use_cache and isinstance(cache, Cache):
            runner = cache.runner  # found when the cache was made: looking at all modules in each step would take long
            if isinstance(runner, StackRunner) and runner.stack is self:
                return runner
        return runner_of(self) if hidden.device.type == "cpu" else None

    def _run_plainly(
        self,
        runner: StackRunner,
        hidden: Tensor,
        call: Call,
        context: LayerContext,
        final_norm: nn.Module | None,
    ) -> StackResult:
        after, presents = runner.run(hidden, context, call.keep_hidden[1:])
        states = [hidden, *after]
        result = cast("Tensor", states[-1])
        if final_norm is not None:
            states[-1] = result = final_norm(result)
        kept = tuple(state if keep else None for state, keep in zip(states, call.keep_hidden, strict=True))
        cache = _extended_cache(call, context, presents)
        return StackResult(result, kept if any(call.keep_hidden) else None, past_key_values=cache)

    def _run_in_chunks(
        self,
        hidden: Tensor,
        call: Call,
        context: LayerContext,
        final_norm: nn.Module | None,
        size: int,
        runner: StackRunner | None,
    ) -> StackResult:
        """Run all layers over some rows at a time; see `modeloutputs.torch.row_chunks`."""
        last = len(self)
        wanted = [i for i in range(1, last + 1) if call.keep_hidden[i] or i == last]

        def run(hidden: Tensor, bias: Tensor | None, *rotary: Tensor) -> list[Tensor]:
            embeddings = cast("PositionEmbeddings", rotary) or None
            rows = context._replace(mask=context.mask._replace(bias=bias), position_embeddings=embeddings)
            states = self._states(runner, hidden, rows, call.keep_hidden[1:])
            if final_norm is not None:
                states[-1] = final_norm(states[-1])
            return [cast("Tensor", states[i - 1]) for i in wanted]

        by_row = (hidden, context.mask.bias, *(context.position_embeddings or ()))
        states = dict(zip(wanted, run_in_chunks(run, hidden.shape[0], size, by_row), strict=True))
        states[0] = hidden
        kept = tuple(states[i] if keep else None for i, keep in enumerate(call.keep_hidden))
        return StackResult(states[last], kept if any(call.keep_hidden) else None)

    def _states(
        self, runner: StackRunner | None, hidden: Tensor, context: LayerContext, kept: list[bool]
    ) -> list[Tensor | None]:
        """Return the states after each layer, as `StackRunner.run` does."""
        if runner is not None:
            return runner.run(hidden, context, kept)[0]
        states: list[Tensor | None] = []
        for layer, keep in zip(self, kept, strict=True):
            hidden = result_of(LayerResult, context.made, layer, hidden, context=context).hidden
            states.append(hidden if keep else None)
        return [*states[:-1], hidden]

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, for copies and for `pickle`."""
        return without_runner(self.__dict__)


class StackHolder(nn.Module):
    """Base of modules that hold a stack: an `nn.ModuleList` of layers assigned in its place becomes one."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute."""
        held = self.__dict__.get("_modules", {}).get(name)
        if isinstance(held, Stack) and type(value) is nn.ModuleList:
            value = Stack(held.settings, value)
        super().__setattr__(name, value)


def run_stack(stack: nn.Module, hidden: Tensor, call: Call, **options: Any) -> StackResult:
    """Return the result of a stack or of a module around one; arguments as of `Stack.forward`."""
    return result_of(StackResult, call.made, stack, hidden, call, **options)


def _present(values: Iterable[Tensor | None]) -> tuple[Tensor | None, ...] | None:
    found = tuple(values)
    return found if any(value is not None for value in found) else None


def _extended_cache(call: Call, context: LayerContext, presents: list[tuple[Tensor, ...]]) -> PastKeyValues | None:
    if context.cache is None or not call.use_cache:
        return None
    return context.cache.finish(presents)
