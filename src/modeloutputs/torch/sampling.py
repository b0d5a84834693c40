"""From scores to tokens: what changes the scores of the next token, and how one is drawn.

Every function here maps scores (rows, vocab) to scores; a token that cannot come has minus infinity. Those that keep
some keep the `least` best at any rate.
"""

import torch
from torch import Tensor

__all__ = ["draw", "force", "keep_min_p", "keep_top_k", "keep_top_p", "penalise_repetition"]

NEVER = float("-inf")


def penalise_repetition(scores: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Divide positive scores of tokens that were there before by the penalty and multiply negative ones with it.

    Keskar et al. (2019), section 4.1.

    Args:
        scores: (rows, vocab).
        tokens: (rows, positions) that were there.
        penalty: 1 changes nothing.
    """
    there = scores.gather(1, tokens)
    return scores.scatter(1, tokens, torch.where(there < 0, there * penalty, there / penalty))


def keep_top_k(scores: Tensor, count: int, least: int = 1) -> Tensor:
    """Keep the `count` highest scores (Fan et al., 2018, section 5.4), and what ties with the last."""
    lowest = scores.topk(min(max(count, least), scores.shape[-1])).values[:, -1:]
    return scores.masked_fill(scores < lowest, NEVER)


def keep_top_p(scores: Tensor, mass: float, least: int = 1) -> Tensor:
    """Keep the fewest tokens whose probabilities add up to `mass` (Holtzman et al., 2020, section 3.1)."""
    ordered, indices = scores.sort(descending=False)
    # From the least probable on, all whose sum leaves more than the mass to the others.
    dropped = ordered.softmax(-1).cumsum(-1) <= 1 - mass
    dropped[:, -least:] = False
    return scores.masked_fill(dropped.scatter(1, indices, dropped), NEVER)


def keep_min_p(scores: Tensor, share: float, least: int = 1) -> Tensor:
    """Keep tokens at least `share` as probable as the most probable (Nguyen et al., 2024, section 3)."""
    probabilities = scores.softmax(-1)
    dropped = probabilities < share * probabilities.amax(-1, keepdim=True)
    best = scores.topk(min(least, scores.shape[-1])).indices
    return scores.masked_fill(dropped.scatter(1, best, False), NEVER)


def force(scores: Tensor, tokens: list[int]) -> Tensor:
    """Let nothing come but these tokens, with equal scores."""
    forced = torch.full_like(scores, NEVER)
    forced[:, tokens] = 0.0
    return forced


def draw(scores: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw a token (rows,) for each row, with the probabilities softmax(scores)."""
    return torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)
