import re
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

import modeloutputs
from modeloutputs import ALWAYS, ContractError, ModelOutput

from .examples import Array, Checked, Matrix, Plain, Vector, f32


def refused(output: ModelOutput, message: str) -> None:
    with pytest.raises(ContractError, match=f"^{re.escape(message)}$"):
        output.check()


# -- arrays ---------------------------------------------------------------------------------------------------------


def test_an_output_that_fits_is_returned():
    output = Checked(loss=f32(), logits=f32(2, 3), hidden_states=(f32(2, 5, 8),) * 3, ids=np.zeros((2, 5), "i8"))
    assert output.check() is output
    assert modeloutputs.check(output) is output
    assert Checked().check() == Checked()


def test_axes_are_bound_across_fields():
    refused(
        Checked(logits=f32(2, 3), hidden_states=(f32(4, 5, 8),)),
        "Checked.hidden_states[0]: expected Float[batch seq hidden] with batch=2, found f32[4,5,8]",
    )


def test_axes_are_bound_across_the_items_of_a_field():
    refused(
        Checked(hidden_states=(f32(2, 5, 8), f32(2, 6, 8))),
        "Checked.hidden_states[1]: expected Float[batch seq hidden] with batch=2, seq=5, hidden=8, found f32[2,6,8]",
    )


def test_axes_are_bound_across_types():
    refused(
        Checked(hidden_states=(f32(2, 5, 8),), ids=np.zeros((2, 6), "i8")),
        "Checked.ids: expected Int[batch seq] with batch=2, seq=5, found i64[2,6]",
    )


def test_axes_of_one_check_do_not_reach_the_next():
    Checked(logits=f32(2, 3)).check()
    Checked(logits=f32(4, 5)).check()
    with pytest.raises(ContractError):
        Checked(logits=f32(2, 3), hidden_states=(f32(4, 5, 8),)).check()
    Checked(logits=f32(4, 3), hidden_states=(f32(4, 5, 8),)).check()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("loss", f32(1), "expected Float[], found f32[1]"),
        ("logits", f32(2, 3, 4), "expected Float[batch labels], found f32[2,3,4]"),
        ("logits", np.zeros((2, 3), "i8"), "expected Float[batch labels], found i64[2,3]"),
        ("logits", [[1.0]], "expected Float[batch labels], found ((1.0,),) of list"),
        ("logits", 1.0, "expected Float[batch labels], found 1.0 of float"),
        ("ids", f32(2, 3), "expected Int[batch seq], found f32[2,3]"),
        ("hidden_states", f32(2, 3, 4), "expected a tuple, found f32[2,3,4]"),
        ("hidden_states", [f32(2, 3, 4)], "expected a tuple, found (f32[2,3,4],)"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(field: str, value: Any, message: str):
    refused(Checked(**{field: value}), f"Checked.{field}: {message}")


def test_the_first_wrong_field_is_the_one_named():
    refused(Checked(logits=f32(2), ids=f32(2)), "Checked.logits: expected Float[batch labels], found f32[2]")


@pytest.mark.parametrize("states", [(None, None), (), (None, f32(2, 5, 8), None)])
def test_layers_not_asked_for_may_be_none(states: Any):
    Checked(logits=f32(2, 3), hidden_states=states).check()


def test_none_does_not_hide_the_layers_after_it():
    refused(
        Checked(logits=f32(2, 3), hidden_states=(None, f32(4, 5, 8))),
        "Checked.hidden_states[1]: expected Float[batch seq hidden] with batch=2, found f32[4,5,8]",
    )


def test_none_unflattened_into_a_field_is_named():
    with pytest.raises(ContractError, match=r"^Checked\.logits: expected Float\[batch labels\], found None of NoneTyp"):
        Checked.unflatten(("logits",), (None,)).check()


def test_precision_is_free():
    Checked(logits=np.zeros((2, 3), "f2"), hidden_states=(np.zeros((2, 5, 8), "f8"),)).check()


def test_arrays_of_another_framework_are_refused():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from modeloutputs.torch.outputs import BaseModelOutput

    refused(
        BaseModelOutput(last_hidden_state=f32(2, 3, 4)),
        "BaseModelOutput.last_hidden_state: expected Float[batch seq hidden], found f32[2,3,4] of ndarray",
    )
    refused(Checked(logits=torch.zeros(2, 3)), "Checked.logits: expected Float[batch labels], found f32[2,3] of Tensor")


# -- the cache and multiple choice ----------------------------------------------------------------------------------


def cache(torch: Any, *shapes: tuple[int, ...]) -> Any:
    return (tuple(torch.zeros(shape) for shape in shapes),) * 2


def test_a_layer_of_the_cache_has_two_tensors_or_four():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from modeloutputs.torch.outputs import BaseModelOutputWithPastAndCrossAttentions as Output

    own, other = (2, 4, 7, 8), (2, 4, 5, 8)
    Output(past_key_values=cache(torch, own, own)).check()
    Output(past_key_values=cache(torch, own, own, other, other)).check()
    name = f"{Output.__name__}.past_key_values"
    refused(
        Output(past_key_values=cache(torch, own, own, other)),
        f"{name}[0]: expected a tuple of 2, found (2 x f32[2,4,7,8], f32[2,4,5,8])",
    )
    refused(
        Output(past_key_values=cache(torch, own, other)),
        f"{name}[0][1]: expected Float[batch kv_heads past head_dim] with batch=2, kv_heads=4, past=7, head_dim=8, "
        "found f32[2,4,5,8]",
    )
    refused(
        Output(past_key_values=cache(torch, own, own, other, own)),
        f"{name}[0][3]: expected Float[batch kv_heads enc_seq head_dim] with batch=2, kv_heads=4, enc_seq=5, "
        "head_dim=8, found f32[2,4,7,8]",
    )


def test_attentions_are_as_wide_as_the_cache():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from modeloutputs.torch.outputs import BaseModelOutputWithPast as Output

    states, keys = torch.zeros(2, 1, 32), cache(torch, (2, 4, 7, 8), (2, 4, 7, 8))
    Output(last_hidden_state=states, past_key_values=keys, attentions=(torch.zeros(2, 4, 1, 7),)).check()
    refused(
        Output(last_hidden_state=states, past_key_values=keys, attentions=(torch.zeros(2, 4, 1, 1),)),
        "BaseModelOutputWithPast.attentions[0]: expected Float[batch heads seq past] with batch=2, seq=1, past=7, "
        "found f32[2,4,1,1]",
    )


def test_rows_of_multiple_choice_are_batch_times_choices():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from modeloutputs.torch.outputs import MultipleChoiceModelOutput as Output

    Output(logits=torch.zeros(2, 3), hidden_states=(torch.zeros(6, 5, 8),)).check()
    refused(
        Output(logits=torch.zeros(2, 3), hidden_states=(torch.zeros(2, 5, 8),)),
        "MultipleChoiceModelOutput.hidden_states[0]: expected Float[batch*choices seq hidden], found f32[2,5,8]",
    )


def test_axes_computed_from_axes_that_are_not_there():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from modeloutputs.torch.outputs import MultipleChoiceModelOutput as Output

    refused(
        Output(hidden_states=(torch.zeros(6, 5, 8),)),
        "MultipleChoiceModelOutput.hidden_states: expected tuple of (batch*choices seq hidden), computed from axes "
        "that no field before it gives",
    )


# -- other annotations ----------------------------------------------------------------------------------------------


def test_plain_annotations_are_held_to():
    output = Plain(
        number=1,
        named={"a": f32(2, 3)},
        listed=[f32(2, 3)],
        pair=(1, "a"),
        either=[1],
        mapping={"a": 1},
        anything=object(),
        bare=(1, "a"),
        inner=Checked(logits=f32(1, 1)),
    )
    assert output.check() is output


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("number", "a", "number: expected int, found 'a' of str"),
        ("named", 3, "named: expected a mapping, found 3"),
        ("named", {"a": f32(2, 3), "b": f32(2, 4)}, "named['b']: expected Float[batch hidden] with batch=2, hidden=3"),
        ("listed", (f32(2, 3),), "listed: expected a list, found (f32[2,3],)"),
        ("listed", [f32(2, 3), f32(2)], "listed[1]: expected Float[batch hidden] with batch=2, hidden=3, found f32[2]"),
        ("pair", (1, "a", 2), "pair: expected a tuple of 2, found (1, 'a', 2)"),
        ("pair", (1, 2), "pair[1]: expected str, found 2 of int"),
        ("either", 3, "either: expected str, found 3 of int"),
        ("either", ["a"], "either[0]: expected int, found 'a' of str"),
        ("mapping", {"a": "b"}, "mapping['a']: expected int, found 'b' of str"),
        ("bare", [1], "bare: expected a tuple, found (1,)"),
        ("inner", {"logits": 1}, "inner: expected Checked, found {logits: 1} of dict"),
    ],
)
def test_a_wrong_plain_value_is_named_with_its_place(field: str, value: Any, message: str):
    with pytest.raises(ContractError, match="^" + re.escape(f"Plain.{message}")):
        Plain(**{field: value}).check()


@pytest.mark.parametrize(("field", "value"), [("anything", 3), ("literal", 3), ("sequence", "abc")])
def test_annotations_that_cannot_be_checked_accept_anything(field: str, value: Any):
    Plain(**{field: value}).check()


@pytest.mark.parametrize("annotation", ["NotImported", "np.NoSuchType", "Float[Array"])
def test_an_annotation_that_cannot_be_resolved_is_named(annotation: str):
    cls = type("Lost", (ModelOutput,), {"__annotations__": {"loss": annotation}, "__module__": __name__})
    with pytest.raises(ContractError, match=r"^Lost: an annotation cannot be resolved \(.+\); import that name$"):
        cls(loss=1).check()


def test_annotations_that_are_strings_are_resolved():
    cls = type(
        "Late", (ModelOutput,), {"__annotations__": {"loss": "Float[Array, 'batch'] | None"}, "__module__": __name__}
    )
    cls(loss=f32(2)).check()
    refused(cls(loss=f32(2, 2)), "Late.loss: expected Float[batch], found f32[2,2]")


def test_a_subclass_is_held_to_its_parents_annotations():
    class Extended(Checked):
        extra: Vector | None = None

    refused(
        Extended(logits=f32(2, 3), extra=f32(3)), "Extended.extra: expected Float[batch] with batch=2, found f32[3]"
    )


def test_a_loss_is_one_number_or_one_for_each_part():
    class Trained(ModelOutput):
        loss: Float[Array, ""] | Float[Array, "parts"] | None = None
        logits: Matrix = ALWAYS

    for loss in (f32(), f32(3), f32(0)):
        assert Trained(loss=loss, logits=f32(2, 4)).check()
    refused(
        Trained(loss=f32(3, 1), logits=f32(2, 4)),
        "Trained.loss: expected Float[], found f32[3,1]",
    )
