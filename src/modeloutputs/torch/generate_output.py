"""What `generate` returns, in PyTorch."""

from dataclasses import field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..generation.loops import GenerationResult
from ..output import ALWAYS, ModelOutput

__all__ = ["GenerateOutput", "stacked_scores"]

_States = Float[Tensor, "batch kv_heads past head_dim"]
_EncoderStates = Float[Tensor, "batch kv_heads enc_seq head_dim"]
_Cache = tuple[tuple[_States, _States] | tuple[_States, _States, _EncoderStates, _EncoderStates], ...]


class GenerateOutput(ModelOutput):
    """Output of `generate`: `num_return_sequences` rows per prompt, `total` positions of prompt and new tokens.

    Hidden states and attentions are those of one call over the finished sequences, the last token included. Positions
    before a row's prompt and after its end are padding.
    """

    sequences: Int[Tensor, "batch total"] = ALWAYS
    attention_mask: Int[Tensor, "batch total"] = ALWAYS
    """1 at the tokens of prompt and continuation, the end token included, 0 at padding."""
    generated: Bool[Tensor, "batch total"] = ALWAYS
    """True at new tokens."""
    scores: Float[Tensor, "batch new vocab"] | None = field(
        default=None, metadata={"returned_when": "output_scores=True"}
    )
    """Scores that each new token was chosen by, after penalties and filters: logits, or log probabilities for beams."""
    sequences_scores: Float[Tensor, "batch"] | None = field(default=None, metadata={"returned_when": "num_beams > 1"})
    hidden_states: tuple[Float[Tensor, "batch total hidden"] | None, ...] | None = None
    attentions: tuple[Float[Tensor, "batch heads total total"] | None, ...] | None = None
    cross_attentions: tuple[Float[Tensor, "batch heads total enc_seq"] | None, ...] | None = None
    encoder_last_hidden_state: Float[Tensor, "batch enc_seq hidden"] | None = None
    encoder_hidden_states: tuple[Float[Tensor, "batch enc_seq hidden"] | None, ...] | None = None
    encoder_attentions: tuple[Float[Tensor, "batch enc_heads enc_seq enc_seq"] | None, ...] | None = None
    past_key_values: _Cache | None = field(
        default=None, metadata={"returned_when": "return_dict_in_generate=True, without beams"}
    )
    """Of all positions but the last, whose token no step has read."""

    def new_tokens(self) -> list[Tensor]:
        """Return each row's new tokens, without padding.

        Examples:
            >>> generated = torch.tensor([[False, True, True], [False, True, False]])
            >>> sequences = torch.tensor([[1, 5, 6], [2, 7, 0]])
            >>> GenerateOutput(sequences=sequences, attention_mask=sequences != 0, generated=generated).new_tokens()
            [tensor([5, 6]), tensor([7])]
        """
        return [row[new] for row, new in zip(self.sequences, self.generated, strict=True)]


def stacked_scores(result: GenerationResult[Tensor], device: torch.device) -> Tensor | None:
    """Return the scores (rows, new, vocab) of each sequence's tokens; None if they were not asked for."""
    if not result.step_scores:
        return None
    if result.score_rows is None:
        return torch.stack(result.step_scores, 1)
    rows = torch.as_tensor(result.score_rows, device=device)
    return torch.stack([scores[rows[:, i]] for i, scores in enumerate(result.step_scores)], 1)
