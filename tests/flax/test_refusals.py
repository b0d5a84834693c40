"""Checks of arguments, alone and in a trace; `test_bad_inputs` makes whole calls."""

# what is imported below needs what may be absent

import inspect
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import freeze
from flax.errors import FlaxError

from modeloutputs import InputError, UsageError
from modeloutputs.flax import FlaxBertModel
from modeloutputs.flax.refusals import (
    check_count,
    check_encoder,
    check_filled,
    check_head_mask,
    check_key,
    check_past,
    check_present,
    describe_params,
    leaves_of,
    naming_unknown,
)


class Model:
    """Stands for a model."""

    def decode(self, ids: Any, attention_mask: Any = None) -> Any:
        return ids, attention_mask


def test_unknown_keywords_are_named_and_signatures_kept():
    decode = naming_unknown(Model.decode)
    assert decode(Model(), 1, attention_mask=2) == (1, 2)
    assert inspect.signature(decode) == inspect.signature(Model.decode)
    with pytest.raises(UsageError, match=r"^Model.decode\(\) takes no attention_masks; did you mean"):
        decode(Model(), 1, attention_masks=2)
    with pytest.raises(UsageError, match="takes no labels; Flax models return no loss"):
        decode(Model(), 1, labels=2)
    assert list(inspect.signature(FlaxBertModel.__call__).parameters)[:3] == ["self", "input_ids", "attention_mask"]


@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), jax.random.key(0), np.array([0, 1], np.uint32)])
def test_keys_of_either_kind_are_keys_in_a_trace_too(key: Any):
    check_key("rng", key)
    jax.eval_shape(lambda key: check_key("rng", key), key)


@pytest.mark.parametrize("key", [0, "a", None, np.zeros(2), np.uint32(3), jnp.zeros(2, jnp.int32)])
def test_what_is_no_key_is_refused(key: Any):
    with pytest.raises(InputError, match=r"^rng is .*; expected a random key, as jax.random.PRNGKey\(0\)$"):
        check_key("rng", key)


def test_counts_are_integers_from_1():
    check_count("rows", np.int64(3))
    for value in (0, -1, 2.0, True, "a", None):
        with pytest.raises(InputError, match=r"^rows is .*; expected an integer from 1$"):
            check_count("rows", value)


def test_tokens_are_there():
    check_present({"input_ids": np.ones((1, 1))}, "input_ids")
    with pytest.raises(InputError, match=r"^input_ids was not passed"):
        check_present({}, "input_ids")
    with pytest.raises(InputError, match=r"shape \(0, 3\), which holds no tokens"):
        check_present({"input_ids": np.ones((0, 3))}, "input_ids")


def test_shapes_are_checked_in_a_trace():
    def call(mask: Any, states: Any, seen: Any) -> None:
        check_head_mask({"head_mask": mask}, 2, 4)
        check_encoder({"encoder_hidden_states": states, "encoder_attention_mask": seen}, 8, 3)

    good = jnp.ones((2, 4)), jnp.ones((3, 5, 8)), jnp.ones((3, 5))
    jax.eval_shape(call, *good)
    jax.eval_shape(call, good[0][0], good[1], jnp.ones((3, 1, 1, 5)))
    for i, (bad, message) in enumerate(
        [
            (jnp.ones((4, 2)), r"head_mask has shape \(4, 2\); expected \(heads,\) = \(4,\)"),
            (jnp.ones((3, 5, 9)), r"shape \(3, 5, 9\); expected floating point of shape \(3, positions, 8\)"),
            (jnp.ones((3, 4)), r"encoder_attention_mask has shape \(3, 4\); expected \(3, 5\)"),
        ]
    ):
        with pytest.raises(InputError, match=message):
            jax.eval_shape(call, *good[:i], bad, *good[i + 1 :])


def test_a_cache_fits_the_model_the_rows_and_what_is_filled():
    check_past((3, 9, 4, 8), 3, (4, 8))
    with pytest.raises(InputError, match="has 2 heads of width 8, and this model 4 of width 8"):
        check_past((3, 9, 2, 8), 3, (4, 8))
    with pytest.raises(InputError, match=r"has 3 rows, and the call 2; pass init_cache\(2, ...\)"):
        check_past((3, 9, 4, 8), 2, (4, 8))
    check_filled(jnp.array([2, 5]), 4, 9)
    with pytest.raises(InputError, match=r"^4 positions after 6 cached ones exceed the cache's room for 9"):
        check_filled(jnp.array([2, 6]), 4, 9)
    jax.eval_shape(lambda filled: check_filled(filled, 4, 9), jnp.array([2, 6]))  # whose numbers are not known
    with pytest.raises(InputError, match=r"^10 positions exceed the cache's room for 9"):
        jax.eval_shape(lambda filled: check_filled(filled, 10, 9), jnp.array([2, 6]))


def test_parameters_that_do_not_fit_are_described():
    wanted = {"a": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}}
    error = FlaxError("something else\nand more")
    for params, message in [
        ({"a": {"bias": np.ones(3)}}, "params lacks 1 parameters: a/kernel; model.init_weights fills what is missing"),
        (freeze({"params": wanted}), "params holds one entry, 'params'; pass what is in it, params['params']"),
        (
            {"a": {"kernel": np.ones((3, 2)), "bias": np.ones(3)}},
            "params has a/kernel of shape (3, 2); expected (2, 3)",
        ),
        ({"a": {"kernel": "no array", "bias": np.ones(3)}}, "something else"),
    ]:
        assert describe_params(params, wanted, error).startswith(message)
    assert set(leaves_of(freeze(wanted))) == {("a", "kernel"), ("a", "bias")}
    with pytest.raises(InputError, match=r"^params is a NoneType; expected a nested dict"):
        describe_params(None, wanted, error)
