"""Names and layouts of Flax and TensorFlow; `tests/flax/test_weights.py` reads whole checkpoints of each."""

import numpy as np
import pytest

from modeloutputs.files.layouts import from_flax, from_tensorflow, in_pytorchs_layout


class Array:
    """A tensor of a file."""

    def __init__(self, *shape: int) -> None:
        self.values = np.arange(np.prod(shape)).reshape(shape)
        self.shape = shape
        self.released = False

    def numpy(self) -> np.ndarray:
        return self.values

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h.0.attn.c_attn.kernel", "h.0.attn.c_attn.weight"),
        ("bert.embeddings.LayerNorm.scale", "bert.embeddings.LayerNorm.weight"),
        ("bert.embeddings.word_embeddings.embedding", "bert.embeddings.word_embeddings.weight"),
        ("model.norm.weight", "model.norm.weight"),
        ("final_logits_bias", "final_logits_bias"),
    ],
)
def test_names_of_flax(name: str, expected: str):
    assert from_flax(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert/encoder/layer_._0/attention/self/query/kernel:0", "bert.encoder.layer.0.attention.self.query.weight"),
        ("bert/embeddings/word_embeddings/weight:0", "bert.embeddings.word_embeddings.weight"),
        ("bert/embeddings/position_embeddings/embeddings:0", "bert.embeddings.position_embeddings.weight"),
        ("bert/embeddings/LayerNorm/beta:0", "bert.embeddings.LayerNorm.bias"),
        ("mlm___cls/predictions/transform/LayerNorm/gamma:0", "cls.predictions.transform.LayerNorm.weight"),
        ("nsp___cls/seq_relationship/kernel:0", "cls.seq_relationship.weight"),
        ("transformer/h_._11/attn/c_attn/bias:0", "transformer.h.11.attn.c_attn.bias"),
        ("transformer/wte/embeddings:0", "transformer.wte.weight"),
        ("score/kernel:0", "score.weight"),
        ("model/decoder/layers.0/encoder_attn/k_proj/kernel:0", "model.decoder.layers.0.encoder_attn.k_proj.weight"),
        ("model.shared/model.shared/embeddings:0", "model.shared.weight"),
        ("final_logits_bias:0", "final_logits_bias"),
    ],
)
def test_names_of_tensorflow(name: str, expected: str):
    assert from_tensorflow(name) == expected


def test_matrices_called_kernel_are_transposed():
    for name in ("a.kernel", "a/kernel:0"):
        kernel = Array(2, 3)
        found = in_pytorchs_layout({name: kernel})["a.weight"]
        assert tuple(found.shape) == (3, 2)
        np.testing.assert_array_equal(found.numpy(), kernel.values.T)
        found.release()
        assert kernel.released


def test_what_is_no_kernel_stays_but_for_biases_of_one_row():
    kept = {"a/weight:0": (2, 3), "a/bias:0": (3,), "final_logits_bias:0": (1, 4)}
    found = in_pytorchs_layout({**{name: Array(*shape) for name, shape in kept.items()}, "b/bias:0": Array(1, 3)})
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "a.weight": (2, 3), "a.bias": (3,), "final_logits_bias": (1, 4), "b.bias": (3,),
    }  # fmt: skip
    np.testing.assert_array_equal(found["b.bias"].numpy(), [0, 1, 2])


def test_what_is_pytorchs_stays():
    tensors = {"a.weight": Array(2, 3), "a.bias": Array(1, 3)}
    assert in_pytorchs_layout(tensors) == tensors
