"""The contract of output fields: the vocabulary of axis names, and when a model returns a field.

A field's annotation is its contract, in jaxtyping's notation: `Float[Tensor, "batch seq hidden"]`. Axis names mean
the same in every class:

=========  ==========================================================================
batch      rows of the batch
seq        positions computed in this call
past       positions with cached keys: those before this call and those of this call
enc_seq    positions of the encoder's output
heads      attention heads; `kv_heads` if keys and values have fewer (grouped-query attention)
enc_heads  attention heads of the encoder
head_dim   width of one head
hidden     width of the hidden states
vocab      entries of the vocabulary
labels     classes of a classifier
choices    alternatives of one multiple-choice row
n          labels that count towards a loss, if the loss is not reduced
parts      parts of a batch that was concatenated or gathered: one loss for each
max_length positions that a Flax cache of constant shape has room for
total, new positions that `generate` returns, and those among them that it generated
=========  ==========================================================================
"""

import math
from dataclasses import dataclass

from ..errors import ContractError
from .protocol import OutputLike
from .schema import describe, is_optional, schema_of

__all__ = [
    "BATCH_AXIS",
    "PADDABLE_AXES",
    "PAD_WITH_NEG_INF",
    "FieldContract",
    "field_contracts",
    "has_rows",
    "returned_when",
]

BATCH_AXIS = "batch"
"""The axis whose entries are the rows of a batch; `batch*choices` holds several entries for each row."""

PADDABLE_AXES = frozenset({"seq", "past", "enc_seq", "total", "new", "max_length"})
"""Axes whose lengths differ from text to text, so that shorter ones are padded."""

PAD_WITH_NEG_INF = {"padding": -math.inf}
"""Metadata of logits over positions: padded so, no argmax chooses a padded position and no softmax counts it."""

_RETURNED_WHEN = {
    "loss": "labels are passed",
    "past_key_values": "use_cache=True",
    "hidden_states": "output_hidden_states=True",
    "decoder_hidden_states": "output_hidden_states=True",
    "encoder_hidden_states": "output_hidden_states=True",
    "attentions": "output_attentions=True",
    "decoder_attentions": "output_attentions=True",
    "encoder_attentions": "output_attentions=True",
    "cross_attentions": "output_attentions=True and the model attends to an encoder",
    "encoder_last_hidden_state": "the encoder's states are known",
}
"""What makes a model return a field, unless its metadata says otherwise under "returned_when"."""


def has_rows(axis: str) -> bool:
    """Return whether an axis goes along the rows of the batch: `batch`, `batch*choices`.

    Examples:
        >>> has_rows("batch*choices"), has_rows("seq")
        (True, False)
    """
    return BATCH_AXIS in axis.split("*")


def returned_when(cls: type[OutputLike], name: str) -> str:
    """Return what makes a model return a field: a flag, labels, or "always".

    Examples:
        >>> from modeloutputs import ModelOutput
        >>> class Scores(ModelOutput):
        ...     loss: float | None = None
        >>> returned_when(Scores, "loss")
        'labels are passed'
    """
    stated = cls.__output_fields__[name].metadata.get("returned_when") or _RETURNED_WHEN.get(name)
    return stated or ("the model has it" if _may_be_absent(cls, name) else "always")


def _may_be_absent(cls: type[OutputLike], name: str) -> bool:
    try:
        return is_optional(schema_of(cls)[name])
    except ContractError:
        return True  # `check` reports an annotation that cannot be resolved, `output[name]` does not


@dataclass(frozen=True)
class FieldContract:
    """The contract of one field of an output class, as text."""

    name: str
    axes: str
    returned_when: str


def field_contracts(cls: type[OutputLike]) -> list[FieldContract]:
    """Return the contract of each field of an output class, in declared order.

    Raises:
        ContractError: an annotation refers to a name that cannot be found.

    Examples:
        >>> from modeloutputs import ModelOutput
        >>> class Scores(ModelOutput):
        ...     scores: tuple[float, ...] | None = None
        >>> field_contracts(Scores)
        [FieldContract(name='scores', axes='tuple of float', returned_when='the model has it')]
    """
    return [FieldContract(name, describe(schema), returned_when(cls, name)) for name, schema in schema_of(cls).items()]
