"""Fast ways around modules, taken only where nobody could tell: exactly the framework's own brick, without hooks.

A module that was replaced, wrapped, parametrised, quantised or hooked is called like any other.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules

from .dropout import draws_in_bulk, drop
from .products import is_eager_inference, is_freezing_weights, linear, multiply, product_way

__all__ = [
    "PackedModule",
    "add_residual",
    "apply_dropout",
    "apply_embedding_row",
    "apply_linear",
    "apply_linears",
    "apply_positions",
    "can_modify_in_place",
    "has_global_hooks",
    "has_hooks",
    "is_observed",
    "is_plain",
    "joint_parameters",
    "pack_linears",
    "returns_new_tensors",
    "split_columns",
]

ModuleType = TypeVar("ModuleType", bound=nn.Module)

Parameters = dict[str, Tensor | None]

# Parameters are read from `_parameters`, without the search that reading them as attributes costs.


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether a module is exactly of one of these classes, and calling it runs nothing but its `forward`."""
    return type(module) in kinds and _runs_only_forward(module)


def _runs_only_forward(module: nn.Module) -> bool:
    return not (is_observed(module.__dict__) or has_global_hooks())


def is_observed(own: dict[str, Any]) -> bool:
    """Return whether calling a module with these attributes runs anything but the `forward` of its class."""
    hooked = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
    return bool(hooked or "forward" in own or own.get("_compiled_call_impl"))


def has_global_hooks() -> bool:
    """Return whether a hook observes all modules."""
    return modules._has_any_global_hook()  # pyright: ignore


def has_hooks(module: nn.Module) -> bool:
    """Return whether a hook observes a module or one within it."""
    if has_global_hooks():
        return True
    return any(getattr(part, hooks) for part in module.modules() for hooks in _HOOKS)


def can_modify_in_place(*producers: nn.Module) -> bool:
    """Return whether nobody else holds the tensor that these modules returned."""
    return all(type(module) in _OWNERS and _runs_only_forward(module) for module in producers)


_OWNERS: set[type[nn.Module]] = {nn.Linear, nn.Dropout}


def returns_new_tensors(kind: type[ModuleType]) -> type[ModuleType]:
    """Declare that modules of a class return a tensor that they do not keep."""
    _OWNERS.add(kind)
    return kind


def add_residual(update: Tensor, residual: Tensor, *producers: nn.Module) -> Tensor:
    """Add a block's input to its output, in place where nobody could tell: one tensor fewer to allocate.

    `producers` are the modules that returned `update`. Under autocast its precision is lower than `residual`'s.
    """
    in_place = update.dtype == residual.dtype and can_modify_in_place(*producers)
    return update.add_(residual) if in_place else update + residual


def apply_dropout(module: nn.Module, states: Tensor) -> Tensor:
    """Return `module(states)`, without the call where it changes nothing, or where `drop` is faster."""
    if not isinstance(module, nn.Dropout) or module.inplace or not is_plain(module, nn.Dropout):
        return module(states)
    if not module.training:
        return states
    return drop(states, module.p) if draws_in_bulk(states) else module(states)


def apply_linear(module: nn.Module, states: Tensor) -> Tensor:
    """Return `module(states)`, by the fastest product where it is a plain `nn.Linear`."""
    if type(module) is nn.Linear:
        parameters: Parameters = module._parameters  # pyright: ignore
        weight = parameters.get("weight")
        way = None if weight is None else product_way(states, weight)
        if weight is not None and way is not None and is_plain(module, nn.Linear):
            return multiply(way, states, weight, parameters["bias"])
    return module(states)


def apply_embedding_row(module: nn.Module, row: int, like: Tensor) -> Tensor:
    """Return the embedding of one index at every position of `like` (batch, seq, hidden), broadcastable to it."""
    if isinstance(module, nn.Embedding) and _is_lookup(module):
        return module.weight[row]
    return module(torch.full(like.shape[:2], row, dtype=torch.long, device=like.device))


def apply_positions(module: nn.Module, position_ids: Tensor | None, start: int, like: Tensor) -> Tensor:
    """Return the embeddings of positions, broadcastable to `like` (batch, seq, hidden).

    Args:
        module: the table of positions.
        position_ids: (batch or 1, seq) rows of the table; None for the positions from `start` on.
        start: row of the first position.
        like: the embeddings of the tokens.
    """
    length = like.shape[1]
    if position_ids is None and isinstance(module, nn.Embedding) and _is_lookup(module):
        return module.weight[start : start + length]  # a slice of the table serves all rows without a look-up
    if position_ids is None:
        position_ids = torch.arange(start, start + length, device=like.device).unsqueeze(0)
    return module(position_ids)


def _is_lookup(module: nn.Embedding) -> bool:
    return is_plain(module, nn.Embedding) and module.max_norm is None and module.padding_idx is None


# -- several linear layers of one input ---------------------------------------------------------------------------


def apply_linears(layers: Sequence[nn.Module], states: Tensor) -> Sequence[Tensor]:
    """Return each layer's result for one input, by a single product where their weights lie end to end in memory.

    So they also do for a compiler that lays them out anew.
    """
    if len(layers) > 1 and (is_eager_inference() or is_freezing_weights()):
        joint = _joined_constants(layers) if is_freezing_weights() else joint_parameters(layers)
        if joint is not None:
            weight, bias, sizes = joint
            return split_columns(linear(states, weight, bias), sizes)
    return [apply_linear(layer, states) for layer in layers]


def split_columns(states: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """Split states (..., sum of widths) along the last axis."""
    return torch.split_with_sizes(states, list(widths), -1)


def joint_parameters(layers: Sequence[nn.Module]) -> tuple[Tensor, Tensor | None, list[int]] | None:
    """Return one weight and bias that span those of several plain layers, and the outputs of each; None if none do."""
    weights: list[Tensor | None] = []
    biases: list[Tensor | None] = []
    for layer in layers:
        if not is_plain(layer, nn.Linear):
            return None
        parameters: Parameters = layer._parameters  # pyright: ignore
        weights.append(parameters["weight"])
        biases.append(parameters["bias"])
    weight = _spanning(layers[0], "weight", weights)
    bias = None if all(each is None for each in biases) else _spanning(layers[0], "bias", biases)
    if weight is None or (bias is None and any(each is not None for each in biases)):
        return None
    return weight, bias, [each.size(0) for each in weights if each is not None]


def _joined_constants(layers: Sequence[nn.Module]) -> tuple[Tensor, Tensor | None, list[int]] | None:
    """Return the joint weight and bias of several plain layers that all have a bias, or none; None if they are not."""
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for layer in layers:
        if type(layer) is not nn.Linear or not _runs_only_forward(layer):
            return None
        weights.append(layer.weight)
        biases.extend([] if layer.bias is None else [layer.bias])  # pyright: ignore[reportUnnecessaryComparison]
    if biases and len(biases) < len(layers):
        return None
    sizes = [weight.size(0) for weight in weights]
    return torch.cat(weights), torch.cat(biases) if biases else None, sizes


_JOINED: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()
"""By the first of several layers, the tensors over whose memory `pack_linears` laid their weights and biases.

Each weight is a storage of its own all the same: tools that save tensors refuse, or write whole, what shares one.
"""


def _spanning(first: nn.Module, name: str, tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Return the tensor over the memory of packed parameters, if they still lie there."""
    if len(tensors) == 1:
        return tensors[0]
    joined = _JOINED.get(first, {}).get(name)
    if joined is None:
        return None
    dtype, strides, address, rows = joined.dtype, joined.stride(), joined.data_ptr(), 0
    for tensor in tensors:
        if type(tensor) is not nn.Parameter:
            return None  # for this call alone, as `torch.func.functional_call` puts tensors in their places
        # With equal strides the widths are equal.
        if tensor.data_ptr() != address or tensor.dtype != dtype or tensor.stride() != strides:
            break
        count = tensor.size(0)
        address += count * strides[0] * dtype.itemsize
        rows += count
    else:
        if rows == joined.size(0):
            return joined
    del _JOINED[first][name]  # it would keep memory that nobody uses
    return None


class PackedModule(nn.Module):
    """Base of modules with several linear layers of one input."""

    def pack(self) -> None:
        """Move the weights of those layers end to end in memory; see `pack_linears`."""


@torch.no_grad()
def pack_linears(layers: Sequence[nn.Module]) -> None:
    """Move the weights of linear layers with one input end to end in memory, for `apply_linears`.

    Parameters keep their identity and values, and each has a storage of its own. Layers that are not plain, on another
    device than the CPU, in memory shared with other processes, or that differ in dtype are left alone.
    """
    if len(layers) < 2 or not all(type(layer) is nn.Linear for layer in layers):
        return
    for name in ("weight", "bias"):
        tensors: list[Tensor | None] = [layer._parameters[name] for layer in layers]  # pyright: ignore
        if _spanning(layers[0], name, tensors) is None and all(map(_is_movable, tensors)):
            _pack(layers[0], name, cast("list[nn.Parameter]", tensors))


def _is_movable(tensor: Tensor | None) -> bool:
    return type(tensor) is nn.Parameter and tensor.device.type == "cpu" and not tensor.untyped_storage().is_shared()


def _pack(first: nn.Module, name: str, tensors: Sequence[nn.Parameter]) -> None:
    if len({(tensor.dtype, tensor.shape[1:]) for tensor in tensors}) > 1:
        return
    joined = torch.cat([tensor.detach() for tensor in tensors])
    memory, start = joined.flatten().view(torch.uint8).numpy(), 0
    for tensor in tensors:
        stop = start + tensor.nbytes
        tensor.data = torch.from_numpy(memory[start:stop]).view(tensor.dtype).view(tensor.shape)  # pyright: ignore
        start = stop
    _JOINED.setdefault(first, {})[name] = joined
