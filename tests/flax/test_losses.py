"""The losses against those of the PyTorch wing, which are held against transformers and finite differences."""

from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed, which these are held against")

import jax
import jax.numpy as jnp
import numpy as np
import torch

from modeloutputs import InputError
from modeloutputs.flax import losses
from modeloutputs.torch import losses as torch_losses

RNG = np.random.default_rng(0)
TOKENS = RNG.standard_normal((2, 5, 7)).astype(np.float32)
ROWS = RNG.standard_normal((3, 4)).astype(np.float32)
SOME = np.array([[0, -100, 3, 6, 2], [-100, -100, 1, 5, 0]])
NONE = np.full((2, 5), -100)
CLASSES = np.array([3, 0, -100])
SEVERAL = np.array([[1, 0, -100, 1], [0, 0.25, 1, -100], [1, 1, 0, 0]], np.float32)
SPANS = np.array([1, 3, 9]), np.array([[2], [0], [3]])

CASES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "tokens": ("cross_entropy", (TOKENS, SOME)),
    "no token": ("cross_entropy", (TOKENS, NONE)),
    "next tokens": ("causal_lm_loss", (TOKENS, SOME)),
    "no next token": ("causal_lm_loss", (TOKENS, NONE)),
    "several classes": ("multi_label_loss", (ROWS, SEVERAL)),
    "a number": ("regression_loss", (ROWS[:, :1], ROWS[:, 1])),
    "integers": ("regression_loss", (ROWS, np.arange(12).reshape(3, 4))),
    "a class of each row": ("sequence_classification_loss", (ROWS, CLASSES, None)),
    "a column of classes": ("sequence_classification_loss", (ROWS, CLASSES[:, None], None)),
    "classes of each row": ("sequence_classification_loss", (ROWS, SEVERAL, None)),
    "numbers of each row": ("sequence_classification_loss", (ROWS, SEVERAL, "regression")),
    "spans": ("question_answering_loss", (ROWS, -ROWS, *SPANS)),
}


def both(name: str, given: tuple[Any, ...], **options: Any) -> tuple[Any, Any]:
    tensors = [torch.as_tensor(value) if isinstance(value, np.ndarray) else value for value in given]
    tensors[0].requires_grad_()
    reference = getattr(torch_losses, name)(*tensors, **options)
    gradient = torch.autograd.grad(reference, tensors[0])[0]
    tensors[0].requires_grad_(False)

    def loss(logits: Any) -> Any:
        return getattr(losses, name)(logits, *given[1:], **options)

    value, own = jax.jit(jax.value_and_grad(loss))(jnp.asarray(given[0]))
    np.testing.assert_allclose(getattr(losses, name)(*given, **options), value, atol=1e-6)
    return (value, own), (reference.detach(), gradient)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("options", [{}, {"num_items": 8}, {"label_smoothing": 0.2}], ids=["", "items", "smooth"])
def test_values_and_gradients_are_the_pytorch_wings(case: str, options: dict[str, Any]):
    name, given = CASES[case]
    if "label_smoothing" in options and ("regression" in name or "numbers" in case):
        options = {}
    ours, reference = both(name, given, **options)
    for found, expected in zip(ours, reference, strict=True):
        assert found.shape == tuple(expected.shape)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sixteen_bits_are_computed_in_float32():
    half = jnp.asarray(TOKENS, jnp.bfloat16)
    assert losses.cross_entropy(half, SOME).dtype == jnp.float32


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("cross_entropy", (TOKENS, SOME[:, :4]), r"labels have shape \(2, 4\); expected \(2, 5\)"),
        ("cross_entropy", (TOKENS, SOME + 7), "labels range from"),
        ("cross_entropy", (TOKENS, SOME / 2), "expected integer class indices"),
        ("cross_entropy", (TOKENS, [1]), "labels are a list, not an array"),
        ("multi_label_loss", (ROWS, SEVERAL * 3), "expected 0 to 1"),
        ("sequence_classification_loss", (ROWS, SEVERAL, "single_label_classification"), "takes integer class"),
    ],
)
def test_labels_that_cannot_be_are_refused(name: str, given: tuple[Any, ...], message: str):
    with pytest.raises(InputError, match=message):
        getattr(losses, name)(*given)
