"""Keras models that return outputs, trained on one field of them: a mixin."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from ..errors import InputError
from ..output import ModelOutput, field_names

__all__ = ["TrainsOnFields"]


class TrainsOnFields:
    """Hands the logits of a model's output to its compiled losses and metrics; stands before `keras.Model`.

    Then `compile` takes losses and metrics as of a model that returns one tensor: by name or object, with
    `class_weight` and sample weights, and a compiled model can be saved, loaded, evaluated and trained on. Without it
    Keras wants losses in an output of the same class, cannot save those, and refuses metrics for some of the fields.
    `predict` and calls still return the whole output.

    Attributes:
        trained_fields: the fields to hand on. One is handed on as a tensor, several as a dict, for losses by name.

    Raises:
        InputError: in training and evaluation, a field is missing from the output or from targets that are outputs.

    Examples:
        >>> import keras
        >>> from modeloutputs.tensorflow import TFSequenceClassifierOutput
        >>> class Classifier(TrainsOnFields, keras.Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.score = keras.layers.Dense(2)
        ...
        ...     def call(self, states):
        ...         return TFSequenceClassifierOutput(logits=self.score(states))
        >>> model = Classifier()
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    """

    trained_fields: ClassVar[tuple[str, ...]] = ("logits",)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **options: Any) -> Any:
        """Return the compiled loss of the trained fields."""
        model: Any = super()
        return model.compute_loss(x, self._trained(y, "y"), self._trained(y_pred, "y_pred"), *rest, **options)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, *rest: Any, **options: Any) -> Any:
        """Update the compiled metrics with the trained fields, and return their values."""
        model: Any = super()
        return model.compute_metrics(x, self._trained(y, "y"), self._trained(y_pred, "y_pred"), *rest, **options)

    def _trained(self, value: Any, what: str) -> Any:
        """Return the trained fields of an output; anything else, as a tensor of labels, as it is."""
        if not isinstance(value, ModelOutput):
            return value
        fields = cast("Mapping[str, Any]", value)
        missing = [name for name in self.trained_fields if name not in fields]
        if missing:
            raise InputError(
                f"{what} is {type(value).__name__} without {missing[0]!r}, which is among trained_fields; "
                f"it declares {', '.join(field_names(value))}"
            )
        if len(self.trained_fields) == 1:
            return fields[self.trained_fields[0]]
        return {name: fields[name] for name in self.trained_fields}
