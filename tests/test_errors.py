import copy
import pickle

import pytest

import modeloutputs
from modeloutputs import errors
from modeloutputs.errors import ModelOutputsError, first_line, nearest

BUILTINS = {
    "FieldError": LookupError,
    "FieldKeyError": KeyError,
    "FieldAttributeError": AttributeError,
    "FieldIndexError": IndexError,
    "UsageError": TypeError,
    "DefinitionError": TypeError,
    "ContractError": ValueError,
    "InputError": ValueError,
    "FileFormatError": ValueError,
    "FileWriteError": OSError,
    "CheckpointError": ValueError,
    "CheckpointNotFoundError": FileNotFoundError,
    "MissingDependencyError": ImportError,
}
EXPORTED = [name for name in errors.__all__ if isinstance(getattr(errors, name), type)]
every_error = pytest.mark.parametrize("name", [*BUILTINS, "ModelOutputsError"])


@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items())
def test_each_is_ours_and_the_builtin_a_caller_would_catch(name: str, builtin: type[Exception]):
    error = getattr(errors, name)
    assert issubclass(error, builtin)
    assert issubclass(error, ModelOutputsError)


def test_the_table_above_is_complete():
    assert set(EXPORTED) - {"CheckpointWarning", "ConfigWarning", "ModelOutputsError"} == set(BUILTINS)


@pytest.mark.parametrize("name", EXPORTED)
def test_each_is_public(name: str):
    assert getattr(modeloutputs, name) is getattr(errors, name)
    assert name in modeloutputs.__all__


@pytest.mark.parametrize("name", ["FieldKeyError", "FieldAttributeError", "FieldIndexError"])
def test_whoever_asks_for_a_field_may_catch_one_type(name: str):
    assert issubclass(getattr(errors, name), errors.FieldError)


def test_what_a_checkpoint_lacks_is_a_checkpoint_error():
    assert issubclass(errors.CheckpointNotFoundError, errors.CheckpointError)
    assert issubclass(errors.CheckpointError, errors.FileFormatError)


@every_error
def test_each_prints_its_sentence_and_nothing_else(name: str):
    assert str(getattr(errors, name)("no field 'logit'")) == "no field 'logit'"
    assert str(getattr(errors, name)()) == ""


@every_error
@pytest.mark.parametrize("carry", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_each_survives_pickling_and_copying(name: str, carry):  # pyright: ignore[reportMissingParameterType]
    error = carry(getattr(errors, name)("a 'sentence'"))
    assert type(error) is getattr(errors, name)
    assert str(error) == "a 'sentence'"


def test_the_warning_is_the_users():
    assert issubclass(errors.CheckpointWarning, UserWarning)


@pytest.mark.parametrize(
    ("name", "candidates", "text"),
    [
        ("logit", ["loss", "logits"], "; did you mean 'logits'?"),
        ("attentoins", ["attentions", "hidden_states"], "; did you mean 'attentions'?"),
        ("zzz", ["loss", "logits"], "; there are loss, logits"),
        ("zzz", [], "; there are none"),
        (3, ["loss"], "; there are loss"),
        ("logit", iter(["loss", "logits"]), "; did you mean 'logits'?"),
    ],
)
def test_nearest(name: object, candidates: list[str], text: str):
    assert nearest(name, candidates) == text


def test_the_first_line_of_a_message_or_the_type_is_returned():
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(ValueError("  ")) == "ValueError"
