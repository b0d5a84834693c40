"""Batch operations under autograd and under compilers: vmap, torch.compile, jit, tf.function."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from modeloutputs import (
    InputError,
    ModelOutput,
    concat,
    pad,
    select,
    split,
    unpad,
)

from ..support.batches import SMALL, each_side, make, refused, tokens
from ..support.compare import assert_same
from ..support.needs import needs_jax, needs_tensorflow, needs_torch
from ..support.random_outputs import class_named

# -- PyTorch ----------------------------------------------------------------------------------------------------------


@needs_torch
@each_side
@pytest.mark.parametrize("first_axis", [True, False])
def test_gradients_reach_every_part(side: str, first_axis: bool):
    import torch

    class Mixed(ModelOutput):
        logits: Float[torch.Tensor, "batch seq labels"] | None = None
        weights: Float[torch.Tensor, "heads batch seq past"] | None = None

    def joined(a: Any, b: Any) -> Any:
        parts = [Mixed(**{"logits" if first_axis else "weights": value}) for value in (a, b)]
        output = select(concat(parts, side=side, padding=3), [2, 0, 1, 1])
        return pad(output, seq=5)[0]

    shapes = ((1, 2, 3), (2, 4, 3)) if first_axis else ((2, 1, 2, 3), (2, 2, 4, 2))
    given = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(joined, given)
    assert side == "right" or torch.autograd.gradgradcheck(joined, given)
    with torch.no_grad():
        alone = joined(*given)
    assert torch.equal(joined(*given), alone)
    torch.func.grad(lambda a: joined(a, given[1].detach()).sum())(given[0].detach())
    joined(*given).sum().backward()
    rows = 0 if first_axis else 1
    assert given[0].grad.unique().tolist() == [1]
    assert given[1].grad.narrow(rows, 0, 1).unique().tolist() == [2]
    assert given[1].grad.narrow(rows, 1, 1).unique().tolist() == [1]


@needs_torch
def test_operations_are_mapped_over_by_vmap():
    import torch

    cls = class_named("TokenClassifierOutput")
    a, b = torch.randn(7, 1, 2, 3), torch.randn(7, 2, 4, 3)

    def every(a: Any, b: Any, rows: Any) -> Any:
        joined = concat([cls(logits=a), cls(logits=b)], side="left")
        return (
            joined.logits,
            select(joined, rows).logits,
            select(joined, [1, 0]).logits,
            split(joined, 2)[1].logits,
            pad(joined, seq=6).logits,
            unpad(joined, [[0, 0, 1, 1], [1] * 4, [1, 0, 1, 1]])[2].logits,
        )

    rows = torch.tensor([[i % 3, -1] for i in range(7)])
    mapped = torch.func.vmap(every)(a, b, rows)
    for i in range(7):
        for found, expected in zip(mapped, every(a[i], b[i], rows[i]), strict=True):
            assert torch.equal(found[i], expected)


@needs_torch
def test_operations_are_compiled_into_one_graph():
    import torch

    def every(a: Any, b: Any, rows: Any) -> list[Any]:
        return [
            concat([a, b]),
            concat([a, b], side="left", padding={"logits": 2}),
            select(a, rows),
            select(a, rows - 2),
            select(a, [1, -2]),
            select(a, [True, False]),
            select(b, slice(1, None)),
            *split(b, 2),
            pad(a, seq=9),
        ]

    few: dict[str, Any] = {"layers": 1, "absent": ["attentions"]}
    a, b, rows = tokens(2, 3, "torch", **few), tokens(3, 5, "torch", seed=1, **few), torch.tensor([1, 0])
    expected = every(a, b, rows)  # before compiling, so that the annotations of the class are resolved
    torch.compiler.reset()
    compiled = torch.compile(every, fullgraph=True, backend="eager")(a, b, rows)
    for found, wanted in zip(compiled, expected, strict=True):
        assert found == wanted


@needs_torch
def test_rows_are_unpadded_in_a_compiled_function():
    import torch

    output = tokens(2, 3, "torch", absent=["hidden_states", "attentions"])
    masks = torch.tensor([[1, 1, 0], [0, 1, 1]])
    torch.compiler.reset()
    assert torch.compile(unpad, backend="eager")(output, masks) == unpad(output, masks)


@needs_torch
def test_tensors_without_values_are_joined_and_selected_from():
    import torch

    a, b = tokens(2, 3, "torch").to("meta"), tokens(1, 5, "torch").to("meta")
    assert concat([a, b]).logits.shape == (3, 5, 3)
    assert select(a, [1]).logits.device.type == "meta"
    assert select(a, torch.tensor([1, -1, 0], device="meta")).logits.shape == (3, 3, 3)
    for rows in (torch.ones(2, device="meta"), torch.ones(2, 1, device="meta", dtype=torch.int64)):
        refused(InputError, r"^rows is .*; expected a slice, 1-D indices or one", lambda rows=rows: select(a, rows))
    refused(
        InputError,
        "^rows has 3 booleans; the output has 2 rows$",
        lambda: select(a, torch.ones(3, device="meta", dtype=torch.bool)),
    )


# -- JAX --------------------------------------------------------------------------------------------------------------


@needs_jax
def test_operations_are_compiled_by_jit():
    import jax
    import jax.numpy as jnp

    constant, other = tokens(2, 3, "jax", layers=1), tokens(1, 5, "jax", seed=1, layers=1)

    def every(a: Any, b: Any, rows: Any) -> list[Any]:
        return [
            select(a, rows),
            select(a, -rows - 1),
            select(constant, rows),
            select(a, [1]),
            concat([a, b], side="left"),
            concat([a, other]),
            *split(a, 1),
            pad(a, seq=7, padding=2),
            *unpad(a, np.array([[1, 0, 1], [0, 1, 1]])),
        ]

    given = constant, other, jnp.array([1, 0, 1])
    for found, expected in zip(jax.jit(every)(*given), every(*given), strict=True):
        assert_same(found, expected)


@needs_jax
def test_choices_and_caches_are_selected_from_under_jit():
    import jax
    import jax.numpy as jnp

    for name in ("FlaxMultipleChoiceModelOutput", "FlaxBaseModelOutputWithPast"):
        output = make((name, "jax"), layers=1, batch=3, **SMALL)
        assert_same(jax.jit(select)(output, jnp.array([2, 0])), select(output, [2, 0]))


@needs_jax
@pytest.mark.parametrize("rows", [[True, False], [0.0], [[1]]])
def test_rows_that_jit_cannot_select_are_refused(rows: Any):
    import jax
    import jax.numpy as jnp

    message = (
        "^rows are booleans without values, so their number"
        if rows[0] is True
        else "^rows is .*; expected a slice, 1-D ind"
    )
    refused(InputError, message, lambda: jax.jit(select)(tokens(2, 3, "jax", layers=1), jnp.array(rows)))


@needs_jax
def test_jax_differentiates_through_concat_and_select():
    import jax
    import jax.numpy as jnp

    a, b = tokens(2, 3, "jax", layers=1), tokens(1, 5, "jax", seed=1, layers=1)

    def total(a: Any, b: Any) -> Any:
        return (select(concat([a, b], side="left"), [2, 0, 0]).logits ** 2).sum()

    for gradient in (jax.grad(total, argnums=(0, 1)), jax.jit(jax.grad(total, argnums=(0, 1)))):
        for_a, for_b = gradient(a, b)
        assert type(for_a) is type(a)
        assert np.allclose(for_a.logits, 2 * a.logits * jnp.array([2.0, 0.0])[:, None, None])
        assert np.allclose(for_b.logits, 2 * b.logits)
        assert not for_a.hidden_states[0].any()


@needs_jax
def test_scan_carries_an_output_with_reordered_rows():
    import jax
    import jax.numpy as jnp

    output = tokens(2, 3, "jax", layers=1)
    orders = jnp.array([[1, 0], [1, 1]])
    last, _ = jax.lax.scan(lambda carry, rows: (select(carry, rows), None), output, orders)
    assert_same(last, select(output, [0, 0]))


@needs_jax
def test_jax_infers_shapes_without_values():
    import jax

    shapes = jax.eval_shape(lambda a, b: concat([a, b]), tokens(2, 3, "jax"), tokens(1, 5, "jax"))
    assert shapes.logits.shape == (3, 5, 3)


# -- TensorFlow -------------------------------------------------------------------------------------------------------


@needs_tensorflow
def test_operations_are_traced_by_tf_function():
    import tensorflow as tf

    few: dict[str, Any] = {"layers": 1, "absent": ["attentions"]}
    a, b = tokens(2, 3, "tensorflow", **few), tokens(1, 5, "tensorflow", seed=1, **few)
    rows, mask = tf.constant([1, 0, -1]), np.array([[1, 0, 1], [0, 1, 1]])

    def every(a: Any, b: Any, rows: Any) -> list[Any]:
        joined = concat([a, b], side="left")
        longer = pad(a, seq=7, padding=2)
        return [select(a, rows), select(a, [1]), joined, longer, *split(a, 1), *unpad(a, mask)]

    expected = [select(a, [1, 0, 1]), *every(a, b, [0])[1:]]
    for compiled in (True, False):
        for found, wanted in zip(tf.function(every, jit_compile=compiled)(a, b, rows), expected, strict=True):
            assert_same(found, wanted)


@needs_tensorflow
def test_graphs_join_and_select_from_arrays_of_unknown_sizes():
    import tensorflow as tf

    cls = class_named("TFQuestionAnsweringModelOutput")
    spec = tf.TensorSpec([None, None], tf.float32)

    @tf.function(input_signature=[spec, spec])
    def joined(a: Any, b: Any) -> Any:
        output = concat([cls(start_logits=a), cls(start_logits=b)], side="left")
        assert output.start_logits.shape.as_list() == [None, None]
        return output

    @tf.function(input_signature=[spec, tf.TensorSpec([None], tf.int32)])
    def chosen(a: Any, rows: Any) -> Any:
        return select(cls(start_logits=a), rows), select(cls(start_logits=a), [-1])

    for lengths in ((2, 4), (5, 1), (3, 3)):
        a, b = (tf.random.normal([i + 1, n]) for i, n in enumerate(lengths))
        assert_same(joined(a, b), concat([cls(start_logits=a), cls(start_logits=b)], side="left"))
        some, last = chosen(b, tf.constant([-1, 0]))
        assert np.array_equal(some.start_logits, b.numpy()[[1, 0]])
        assert np.array_equal(last.start_logits, b.numpy()[1:])


@needs_tensorflow
@pytest.mark.parametrize("rows", [[True, False], [0.0], [[1]]])
def test_rows_that_a_graph_cannot_select_are_refused(rows: Any):
    import tensorflow as tf

    message = (
        "^rows are booleans without values, so their number"
        if rows[0] is True
        else "^rows is .*; expected a slice, 1-D ind"
    )
    # The error is ours, and no copy of TensorFlow's: AutoGraph leaves these functions as they are.
    refused(InputError, message, lambda: tf.function(select)(tokens(2, 3, "tensorflow", layers=1), tf.constant(rows)))


@needs_tensorflow
@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: split(x, 1), "the batch size of TFTokenClassifierOutput is unknown while tracing"),
        (lambda x: select(x, slice(1)), "the batch size of TFTokenClassifierOutput is unknown while tracing"),
        (lambda x: unpad(x, [[1]]), "the batch size of TFTokenClassifierOutput is unknown while tracing"),
        (lambda x: pad(x, seq=9), "the length of seq is unknown while tracing; trace with a fixed length"),
    ],
)
def test_operations_that_need_sizes_while_tracing_say_so(operation: Callable[[Any], Any], message: str):
    import tensorflow as tf

    cls = class_named("TFTokenClassifierOutput")
    traced = tf.function(
        lambda logits: operation(cls(logits=logits)), input_signature=[tf.TensorSpec([None, None, 3], tf.float32)]
    )
    with pytest.raises(Exception, match=message):  # TensorFlow wraps errors of functions that it traces
        traced(tf.zeros([2, 3, 3]))


@needs_tensorflow
def test_choices_of_unknown_rows_are_not_mixed_up():
    import tensorflow as tf

    cls = class_named("TFMultipleChoiceModelOutput")
    specs = [tf.TensorSpec([None, 2]), tf.TensorSpec([None, None, 4]), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=specs)
    def chosen(logits: Any, states: Any, rows: Any) -> Any:
        return select(cls(logits=logits, hidden_states=(states,)), rows)

    with pytest.raises(
        Exception, match=r"the number of entries of batch\*choices per row in hidden_states.0 is unknown while tracing"
    ):
        chosen(tf.zeros([2, 2]), tf.zeros([4, 3, 4]), tf.constant([1]))


@needs_tensorflow
def test_tensorflow_differentiates_through_concat_and_select():
    import tensorflow as tf

    cls = class_named("TFTokenClassifierOutput")
    a, b = tf.random.normal([2, 3, 7]), tf.random.normal([1, 5, 7])
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        chosen = select(concat([cls(logits=a), cls(logits=b)], side="left"), [2, 0, 0])
        total = tf.reduce_sum(chosen.logits**2)
    for_a, for_b = tape.gradient(total, [a, b])
    assert np.allclose(for_a, 2 * a * np.array([2.0, 0.0])[:, None, None])
    assert np.allclose(for_b, 2 * b)
