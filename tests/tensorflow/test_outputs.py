"""The 18 TensorFlow classes against the facts of the documentation page."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

import modeloutputs.tensorflow
from modeloutputs import ContractError, FieldAttributeError
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.tensorflow import (
    TFCausalLMOutput,
    TFSeq2SeqSequenceClassifierOutput,
    TFSequenceClassifierOutput,
    outputs,
)

from ..support.random_outputs import full
from ..support.spec_checks import ClassesOfThePage
from ..support.spec_checks import pytest_generate_tests as pytest_generate_tests


class TestClasses(ClassesOfThePage):
    framework = FRAMEWORKS["tensorflow"]
    count = 18


def test_the_folder_has_every_class():
    assert sorted(modeloutputs.tensorflow.__all__) == sorted(outputs.__all__)


@pytest.mark.parametrize("class_name", ["TFSeq2SeqSequenceClassifierOutput", "TFSeq2SeqQuestionAnsweringModelOutput"])
def test_these_two_have_no_cross_attentions(class_name: str):
    cls = getattr(outputs, class_name)
    assert "cross_attentions" not in cls.__output_fields__
    with pytest.raises(FieldAttributeError, match=f"^{class_name} has no field 'cross_attentions'"):
        _ = cls().cross_attentions


def test_losses_are_as_many_as_the_class_says():
    rows, labels = tf.zeros([3]), tf.zeros([7])
    assert TFSequenceClassifierOutput(loss=rows, logits=tf.zeros([3, 2])).check()
    with pytest.raises(ContractError, match=r"logits: expected Float\[batch labels\] with batch=7, found f32\[3,2\]"):
        TFSequenceClassifierOutput(loss=labels, logits=tf.zeros([3, 2])).check()
    assert TFCausalLMOutput(loss=labels, logits=tf.zeros([3, 4, 9])).check()
    assert TFSeq2SeqSequenceClassifierOutput(loss=tf.zeros([1]), logits=tf.zeros([3, 2])).check()
    with pytest.raises(ContractError, match=r"loss: expected .*found f32\[\]"):
        TFSeq2SeqSequenceClassifierOutput(loss=tf.zeros([]), logits=tf.zeros([3, 2])).check()


def test_a_cache_is_a_list_of_keys_and_values_stacked():
    output = full(outputs.TFCausalLMOutputWithPast)
    assert [type(output.past_key_values)] + [layer.shape.as_list() for layer in output.past_key_values] == [
        list,
        [2, 2, 2, 5, 8],
        [2, 2, 2, 5, 8],
    ]
    with pytest.raises(ContractError, match="past_key_values: expected a list"):
        output.replace(past_key_values=tuple(output.past_key_values)).check()
