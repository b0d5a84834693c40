"""What `generate` returns, in JAX."""

from dataclasses import field

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from ..output import ALWAYS, ModelOutput

__all__ = ["FlaxGenerateOutput"]


class FlaxGenerateOutput(ModelOutput):
    """Output of `generate`: `num_return_sequences` rows per prompt, `total` positions, as many as were asked for.

    Hidden states and attentions are those of one call over the finished sequences. Positions before a row's prompt and
    after its end are padding.
    """

    sequences: Int[Array, "batch total"] = ALWAYS
    attention_mask: Int[Array, "batch total"] = ALWAYS
    """1 at the tokens of prompt and continuation, the end token included, 0 at padding."""
    generated: Bool[Array, "batch total"] = ALWAYS
    """True at new tokens."""
    scores: Float[Array, "batch new vocab"] | None = field(
        default=None, metadata={"returned_when": "output_scores=True"}
    )
    """Scores that each new token was chosen by, after penalties and filters: logits, or log probabilities for beams.

    Zeros at steps that were not needed since all rows had ended.
    """
    sequences_scores: Float[Array, "batch"] | None = field(default=None, metadata={"returned_when": "num_beams > 1"})
    hidden_states: tuple[Float[Array, "batch total hidden"] | None, ...] | None = None
    attentions: tuple[Float[Array, "batch heads total total"] | None, ...] | None = None
    cross_attentions: tuple[Float[Array, "batch heads total enc_seq"] | None, ...] | None = None
    encoder_last_hidden_state: Float[Array, "batch enc_seq hidden"] | None = None
    encoder_hidden_states: tuple[Float[Array, "batch enc_seq hidden"] | None, ...] | None = None
    encoder_attentions: tuple[Float[Array, "batch enc_heads enc_seq enc_seq"] | None, ...] | None = None

    def new_tokens(self) -> list[Array]:
        """Return each row's new tokens, without padding.

        Examples:
            >>> import jax.numpy as jnp
            >>> generated = jnp.array([[False, True, True], [False, True, False]])
            >>> sequences = jnp.array([[1, 5, 6], [2, 7, 0]])
            >>> output = FlaxGenerateOutput(sequences=sequences, attention_mask=sequences != 0, generated=generated)
            >>> [row.tolist() for row in output.new_tokens()]
            [[5, 6], [7]]
        """
        pairs = zip(self.sequences, np.asarray(self.generated), strict=True)
        return [row[: len(new)][np.flatnonzero(new)] for row, new in pairs]
