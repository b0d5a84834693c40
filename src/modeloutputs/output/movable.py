"""Operations on all arrays of an output at once: to a device, to a dtype, to NumPy, or through any function."""

from collections.abc import Callable
from typing import Any, Self

from ..errors import UsageError
from .nested import map_arrays

__all__ = ["Movable"]


class Movable:
    """The part of ModelOutput that maps its arrays."""

    def map(self, function: Callable[[Any], Any]) -> Self:
        """Return an output with a function applied to every array, however nested; other values stay.

        An array in two places is passed once, and its result stands in both.

        Examples:
            >>> import numpy as np
            >>> from modeloutputs import ModelOutput
            >>> class Scores(ModelOutput):
            ...     logits: np.ndarray | None = None
            >>> Scores(logits=np.array([1, 2])).map(lambda array: 2 * array).logits
            array([2, 4])
        """
        return map_arrays(function, self)

    def to(self, where: Any = None, *, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Self:
        """Return the output on a device, in a dtype, or both.

        Args:
            where: a device or a dtype, as PyTorch's `to` takes them: of the arrays' framework, or as text.
            device: "cpu", "cuda:1", "gpu:0"; if not passed, arrays stay where they are.
            dtype: for arrays of floating point numbers; others, such as token ids, keep theirs.
            non_blocking: let PyTorch copy from pinned memory asynchronously.

        Raises:
            InputError: the arrays' framework has no such device or dtype, or the dtype is not of floating point.
            UsageError: a device or dtype was given twice.

        Examples:
            >>> import numpy as np
            >>> from modeloutputs import ModelOutput
            >>> class Scores(ModelOutput):
            ...     logits: np.ndarray | None = None
            >>> Scores(logits=np.ones(2)).to("float16").logits.dtype
            dtype('float16')
        """
        from ..arrays.backends import to_device
        from ..arrays.dtypes import is_dtype

        if where is not None:
            given = dtype if is_dtype(where) else device
            if given is not None:
                raise UsageError(f"to() was given {where!r} and {given!r}; pass one device and one dtype")
            device, dtype = (device, where) if is_dtype(where) else (where, dtype)
        return self.map(lambda array: to_device(array, device, dtype, non_blocking=non_blocking))

    def cpu(self) -> Self:
        """Return the output on the CPU.

        Examples:
            >>> import numpy as np
            >>> from modeloutputs import ModelOutput
            >>> class Scores(ModelOutput):
            ...     logits: np.ndarray | None = None
            >>> Scores(logits=np.ones(2)).cpu().logits
            array([1., 1.])
        """
        return self.to(device="cpu")

    def detach(self) -> Self:
        """Return the output detached from the autograd graph; memory is shared.

        Examples:
            >>> import torch
            >>> from modeloutputs.torch import BaseModelOutput
            >>> states = torch.ones(1, 2, 4, requires_grad=True)
            >>> BaseModelOutput(last_hidden_state=states).detach().last_hidden_state.requires_grad
            False
        """
        from ..arrays.backends import get_backend

        return self.map(lambda array: get_backend(array).detach(array))

    def numpy(self) -> Self:
        """Return the output with NumPy arrays, detached and on the CPU, bit for bit.

        Memory is shared where possible, so do not write to arrays whose originals must not change. Dtypes that NumPy
        lacks, such as bfloat16 and float8, are those of ml_dtypes.

        Raises:
            InputError: an array has no values that NumPy can represent, as while a compiler traces.

        Examples:
            >>> import torch
            >>> from modeloutputs.torch import BaseModelOutput
            >>> BaseModelOutput(last_hidden_state=torch.ones(1, 1, 2)).numpy().last_hidden_state
            array([[[1., 1.]]], dtype=float32)
        """
        from ..arrays.backends import to_numpy

        return self.map(to_numpy)
