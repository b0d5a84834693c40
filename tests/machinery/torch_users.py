"""An output class of somebody who has never heard of trees: registered nowhere, and found when read from a file."""

from torch import Tensor

from modeloutputs import ModelOutput


class Scored(ModelOutput):
    """Scores of each position, and what a decoder keeps."""

    loss: Tensor | None = None
    scores: Tensor | None = None
    past_key_values: tuple[tuple[Tensor, Tensor], ...] | None = None
    hidden_states: tuple[Tensor | None, ...] | None = None
