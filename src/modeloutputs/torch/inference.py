"""Compiles a model for inference, its weights frozen and packed: slow to start, then faster than eager."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..output import ModelOutput
from .attention import is_unmasked
from .inputs import check_ids
from .pretrained import PreTrainedModel
from .products import convolves_constants, freezing_weights
from .row_chunks import chunk_size, run_in_chunks

__all__ = ["CompiledModel", "compile_for_inference"]

# Arguments whose results are not per row, and cannot be computed for a chunk of rows at a time.
_WHOLE = (
    "labels",
    "start_positions",
    "end_positions",
    "next_sentence_label",
    "past_key_values",
    "output_attentions",
    "head_mask",
)

_FEW_TOKENS = 127
"""Most tokens of a call whose products the compiler writes itself, weights laid out for them. Beyond, MKL's and
oneDNN's are faster."""

_MAX_SHAPES = 6
"""Shapes of inputs for which products become convolutions; the compiler keeps eight versions of one function."""

# Only the compiler's own products: choosing by measurement could choose otherwise in the next run.
_OWN_PRODUCTS: dict[str, Any] = {"max_autotune": True, "max_autotune_gemm_backends": "CPP"}


class CompiledModel:
    """A model to call like the one it was made from, in inference mode; see `compile_for_inference`."""

    def __init__(self, model: PreTrainedModel[Any]) -> None:
        self.model = model.eval()
        self._for_many = _compile(model)
        self._for_few = _compile(model, **_OWN_PRODUCTS)
        self._for_one_shape = _compile(model, dynamic=False)
        self._shapes: set[tuple[int, ...]] = set()

    @torch.inference_mode()
    def __call__(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **inputs: Any) -> Any:
        """Call the model.

        Raises:
            InputError: token ids outside the vocabulary. Other invalid arguments raise the compiler's errors.
        """
        if input_ids is not None and input_ids.dim() == 2:
            check_ids(input_ids, self.model.config.vocab_size, "input_ids")
        # A mask without zeros is left out: the compiler does not know its values, so it would cost time.
        mask = None if is_unmasked(attention_mask) else attention_mask
        size = None if input_ids is None or input_ids.dim() != 2 else chunk_size(input_ids)
        if size is None or any(inputs.get(name) is not None for name in _WHOLE) or self.model.config.is_decoder:
            return self._run(input_ids, mask, **inputs)
        return self._in_chunks(cast("Tensor", input_ids), mask, inputs, size)

    def _run(self, input_ids: Tensor | None, mask: Tensor | None, **inputs: Any) -> Any:
        shape = () if input_ids is None else tuple(input_ids.shape)
        tokens = prod(shape) if shape else 0
        if 0 < tokens <= _FEW_TOKENS and self._for_few is not self._for_many:
            try:
                with _freezing():
                    return self._for_few(input_ids, mask, **inputs)
            except _compiler_errors():
                self._for_few = self._for_many  # the compiler has no product of its own for one of this model's
        if convolves_constants(tokens) and (shape in self._shapes or len(self._shapes) < _MAX_SHAPES):
            self._shapes.add(shape)
            with _freezing(convolving=True):
                return self._for_one_shape(input_ids, mask, **inputs)
        with _freezing():
            return self._for_many(input_ids, mask, **inputs)

    def _in_chunks(self, input_ids: Tensor, mask: Tensor | None, inputs: dict[str, Any], size: int) -> ModelOutput:
        spec: Any = None
        kept: list[bool] = []

        def run(ids: Tensor, mask: Tensor | None, *values: Any) -> Sequence[Tensor]:
            nonlocal spec, kept
            output: Any = self._run(ids, mask, **dict(zip(inputs, values, strict=True)))
            leaves, spec = pytree.tree_flatten(output)
            kept = [leaf is not None for leaf in leaves]  # layers not asked for hold their places
            return [leaf for leaf in leaves if leaf is not None]

        joined = run_in_chunks(run, input_ids.shape[0], size, (input_ids, mask, *inputs.values()))
        found = iter(joined)
        return pytree.tree_unflatten([next(found) if there else None for there in kept], spec)


def _compile(model: PreTrainedModel[Any], dynamic: bool | None = None, **options: Any) -> Callable[..., Any]:
    compiler = cast("Any", torch.compile)  # pyright: ignore[reportUnknownMemberType]
    return compiler(model, fullgraph=True, dynamic=dynamic, options={"freezing": True, **options})


@contextmanager
def _freezing(*, convolving: bool = False) -> Generator[None]:
    """Have weights compiled as constants.

    As an option of `torch.compile` alone, freezing reaches the compiler too late: the graph is given to it with the
    weights as inputs.
    """
    import torch._inductor.config as inductor  # imported with the first compiled call, since it takes long

    with cast("Any", inductor).patch(freezing=True), freezing_weights(convolving=convolving):
        yield


def _compiler_errors() -> tuple[type[Exception], ...]:
    import torch._inductor.exc as errors

    found = getattr(errors, "InductorError", None)
    return () if found is None else (found,)


def compile_for_inference(model: PreTrainedModel[Any]) -> CompiledModel:
    """Compile a model for inference on the CPU: weights become constants, laid out as products read them best.

    The first call with new shapes compiles, which takes up to half a minute; later ones are faster than eager. The
    weights must not change afterwards: those of linear layers are copies then, in memory of their own, others are not.
    Outputs are of the same classes, values equal to 1e-5.

    Args:
        model: any model of this library; it is put into evaluation mode.

    Returns:
        an object with the model's call.

    Examples:
        >>> from modeloutputs.torch import BertConfig, BertModel
        >>> config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        >>> compiled = compile_for_inference(BertModel(config))  # compiles when it is called
        >>> compiled.model.training
        False
    """
    return CompiledModel(model)
