"""`past_key_values`: what decoders keep of positions already computed, a tuple of tensors per layer."""

from torch import Tensor

from ..errors import InputError

__all__ = ["PastKeyValues", "check_cache", "past_length"]

PastKeyValues = tuple[tuple[Tensor, ...], ...]
"""Per layer key and value (batch, heads, past, head_dim) and, cross-attending, the encoder's (batch, heads, enc_seq,
head_dim)."""


def past_length(past_key_values: PastKeyValues | None) -> int:
    """Return how many positions a cache holds."""
    return 0 if past_key_values is None else past_key_values[0][0].shape[2]


def check_cache(past: PastKeyValues | None, layers: int, rows: int, heads: int, head_dim: int) -> None:
    """Refuse a cache of another model or batch.

    Raises:
        InputError: naming the layer, the shape found and the shape expected.
    """
    if past is None:
        return
    if len(past) != layers:
        raise InputError(f"past_key_values has {len(past)} layers; this model has {layers}")
    length = None
    for i, layer in enumerate(past):
        if len(layer) not in (2, 4) or len(layer) != len(past[0]):
            raise InputError(
                f"past_key_values[{i}] has {len(layer)} tensors; expected 2, or 4 with cross-attention, in all layers"
            )
        for j, tensor in enumerate(layer):
            if length is None and tensor.dim() == 4:
                length = tensor.shape[2]
            positions = length if j < 2 or tensor.dim() != 4 else tensor.shape[2]
            expected = (rows, heads, "positions" if positions is None else positions, head_dim)
            if tuple(tensor.shape) != expected:
                raise InputError(f"past_key_values[{i}][{j}] has shape {tuple(tensor.shape)}; expected {expected}")
