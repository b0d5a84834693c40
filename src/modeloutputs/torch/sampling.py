"""Functions of the next token's scores (rows, vocab): filters and penalties, and sampling from what remains.

An excluded token gets -inf. Filters keep the `min_tokens_to_keep` best tokens in any case.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .values import values_on_cpu

__all__ = [
    "EXCLUDED",
    "FILTERS",
    "exclude",
    "force_tokens",
    "keep_epsilon",
    "keep_eta",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "keep_typical",
    "penalise_repetition",
    "sample_token",
    "sample_tokens",
]

EXCLUDED = float("-inf")


def penalise_repetition(scores: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Divide the positive scores of tokens that already occur by the penalty, and multiply negative ones by it.

    Keskar et al. (2019), section 4.1.

    Args:
        scores: (rows, vocab).
        tokens: (rows, positions) so far.
        penalty: 1 changes nothing.

    Examples:
        >>> penalise_repetition(torch.tensor([[4.0, -4.0, 1.0]]), torch.tensor([[0, 1]]), 2.0)
        tensor([[ 2., -8.,  1.]])
    """
    occurring = scores.gather(1, tokens)
    return scores.scatter(1, tokens, torch.where(occurring < 0, occurring * penalty, occurring / penalty))


def keep_top_k(scores: Tensor, count: int, min_tokens_to_keep: int = 1) -> Tensor:
    """Keep the `count` highest scores (Fan et al., 2018, section 5.4), and those equal to the last of them.

    Examples:
        >>> keep_top_k(torch.tensor([[3.0, 1.0, 2.0]]), 2)
        tensor([[3., -inf, 2.]])
    """
    lowest = scores.topk(min(max(count, min_tokens_to_keep), scores.shape[-1])).values[:, -1:]
    return scores.masked_fill(scores < lowest, EXCLUDED)


def keep_top_p(scores: Tensor, mass: float, min_tokens_to_keep: int = 1) -> Tensor:
    """Keep the fewest tokens whose probabilities add up to `mass` (Holtzman et al., 2020, section 3.1).

    Examples:
        >>> keep_top_p(torch.tensor([[0.6, 0.1, 0.3]]).log(), 0.8).isneginf()
        tensor([[False,  True, False]])
    """
    ordered, indices = scores.sort(descending=False)
    # From the least probable on, every token up to which the sum leaves the mass to the others.
    dropped = ordered.softmax(-1).cumsum(-1) <= 1 - mass
    dropped[:, -min_tokens_to_keep:] = False
    return scores.masked_fill(dropped.scatter(1, indices, dropped), EXCLUDED)


def keep_min_p(scores: Tensor, share: float, min_tokens_to_keep: int = 1) -> Tensor:
    """Keep tokens at least `share` times as probable as the most probable one (Nguyen et al., 2024, section 3).

    Examples:
        >>> keep_min_p(torch.tensor([[0.6, 0.1, 0.3]]).log(), 0.4).isneginf()
        tensor([[False,  True, False]])
    """
    probabilities = scores.softmax(-1)
    dropped = probabilities < share * probabilities.amax(-1, keepdim=True)
    best = scores.topk(min(min_tokens_to_keep, scores.shape[-1])).indices
    return scores.masked_fill(dropped.scatter(1, best, False), EXCLUDED)


def keep_typical(scores: Tensor, mass: float, min_tokens_to_keep: int = 1) -> Tensor:
    """Keep the tokens whose information is nearest to the entropy and that add up to `mass`.

    Meister et al. (2023), section 4.

    Examples:
        >>> keep_typical(torch.tensor([[0.6, 0.1, 0.3]]).log(), 0.2).isneginf()
        tensor([[ True,  True, False]])
    """
    logs = scores.log_softmax(-1)
    entropy = -(logs.exp() * logs).nansum(-1, keepdim=True)  # an excluded token has probability 0
    distance, order = (-logs - entropy).abs().sort(-1)
    reached = (logs.gather(1, order).exp().cumsum(-1) < mass).sum(1, keepdim=True).clamp(max=scores.shape[1] - 1)
    dropped = distance > distance.gather(1, reached)
    dropped[:, :min_tokens_to_keep] = False
    return scores.masked_fill(dropped.scatter(1, order, dropped), EXCLUDED)


def keep_epsilon(scores: Tensor, cutoff: float, min_tokens_to_keep: int = 1) -> Tensor:
    """Keep tokens at least as probable as `cutoff` (Hewitt et al., 2022, section 4.1).

    Examples:
        >>> keep_epsilon(torch.tensor([[0.6, 0.1, 0.3]]).log(), 0.2).isneginf()
        tensor([[False,  True, False]])
    """
    return _keep_probable(scores, scores.softmax(-1) < cutoff, min_tokens_to_keep)


def keep_eta(scores: Tensor, cutoff: float, min_tokens_to_keep: int = 1) -> Tensor:
    """Keep tokens at least as probable as min(cutoff, sqrt(cutoff) exp(-entropy)).

    Hewitt et al. (2022), section 4.2.

    Examples:
        >>> keep_eta(torch.tensor([[0.6, 0.1, 0.3]]).log(), 0.2).isneginf()
        tensor([[False,  True, False]])
    """
    logs = scores.log_softmax(-1)
    entropy = -(logs.exp() * logs).nansum(-1, keepdim=True)
    least = (cutoff**0.5 * torch.exp(-entropy)).clamp(max=cutoff)
    return _keep_probable(scores, logs.exp() < least, min_tokens_to_keep)


def _keep_probable(scores: Tensor, dropped: Tensor, min_tokens_to_keep: int) -> Tensor:
    """Exclude what is dropped, but for the best tokens and those equal to the last of them."""
    lowest = scores.topk(min(min_tokens_to_keep, scores.shape[-1])).values[:, -1:]
    return scores.masked_fill(dropped & (scores < lowest), EXCLUDED)


def _divide_by_temperature(scores: Tensor, temperature: float, _: int) -> Tensor:
    return scores / temperature


FILTERS: Mapping[str, Callable[..., Tensor]] = {
    "temperature": _divide_by_temperature,
    "top_k": keep_top_k,
    "top_p": keep_top_p,
    "min_p": keep_min_p,
    "typical_p": keep_typical,
    "epsilon_cutoff": keep_epsilon,
    "eta_cutoff": keep_eta,
}
"""By the setting's name, the function of scores, its value and `min_tokens_to_keep`."""


def exclude(scores: Tensor, rows: NDArray[np.int64] | None, tokens: NDArray[np.int64]) -> Tensor:
    """Exclude tokens (N,) of rows (N,), or of all rows for None; see `modeloutputs.generation.processors`.

    Examples:
        >>> exclude(torch.zeros(2, 3), np.array([0, 1]), np.array([2, 0]))
        tensor([[0., 0., -inf],
                [-inf, 0., 0.]])
    """
    indices = torch.as_tensor(tokens, device=scores.device)
    if rows is None:
        return scores.index_fill(1, indices, EXCLUDED)
    excluded = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    excluded[torch.as_tensor(rows, device=scores.device), indices] = True
    return scores.masked_fill(excluded, EXCLUDED)


def force_tokens(scores: Tensor, tokens: list[int]) -> Tensor:
    """Allow only these tokens, with equal scores.

    Examples:
        >>> force_tokens(torch.tensor([[1.0, 2.0, 3.0]]), [0, 2])
        tensor([[0., -inf, 0.]])
    """
    forced = torch.full_like(scores, EXCLUDED)
    forced[:, tokens] = 0.0
    return forced


def sample_token(scores: Tensor, generator: torch.Generator | None) -> Tensor:
    """Sample a token of each row (rows,) with the probabilities softmax(scores).

    Examples:
        >>> sample_token(torch.tensor([[0.0, float("-inf")]]), None)
        tensor([0])
    """
    return sample_tokens(scores, 1, generator).squeeze(1)


def sample_tokens(scores: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Sample `count` different tokens of each row (rows, count), one after the other, as `sample_token` does.

    Raises:
        InputError: a row's scores are no distribution, as found on the CPU.
    """
    probabilities = scores.softmax(-1)
    try:
        return torch.multinomial(probabilities, count, generator=generator)
    except RuntimeError:
        if values_on_cpu(scores) and not bool(probabilities.isfinite().all()):
            raise InputError(
                "there is nothing to sample from: a row's scores are nan, infinite, or -inf for all tokens; look at "
                "the model's logits, at penalties, and at what excludes tokens"
            ) from None
        raise
