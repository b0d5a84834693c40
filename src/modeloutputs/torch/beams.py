"""Beam search (Sutskever et al., 2014, section 3.2): the likeliest of the sequences that a few at a time lead to.

B rows of the batch, K beams, L positions in all. A finished sequence's score is its log probability divided by the
number of its new tokens to the power of the length penalty (as in Murray & Chiang, 2018, section 3, generalised).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Beams", "EarlyStopping"]

EarlyStopping = bool | Literal["never"]

BARRED = -1.0e9
"""Added to the score of what must not be chosen: less than any log probability, and still a number."""


@dataclass
class Candidates:
    """Sequences that continue the beams by a token, best first: more than K, since those that end do not go on."""

    scores: Tensor  # (B, C) log probabilities
    sequences: Tensor  # (B, C, L)
    origins: Tensor  # (B, C, new) by step, the row of the scores that it went on from
    ended: Tensor  # (B, C)


class Beams:
    """The beams of a batch, and the best sequences that have ended.

    Args:
        prompts: (B, P) tokens to go on from.
        new_tokens: positions after them.
        width: K.
        end_tokens: how many tokens end a sequence.
        filler: what positions after the end hold.
        length_penalty: above 0 favours longer sequences, below 0 shorter ones.
        early_stopping: True stops a row when K of its sequences have ended; False when those that have not could not
            do better if they ended now; "never" when they could not do better at any length.
    """

    def __init__(
        self,
        prompts: Tensor,
        new_tokens: int,
        *,
        width: int,
        end_tokens: int,
        filler: int,
        length_penalty: float,
        early_stopping: EarlyStopping,
    ) -> None:
        rows, self.start = prompts.shape
        device = prompts.device
        self.width = width
        self.new_tokens = new_tokens
        self.length_penalty = length_penalty
        self.early_stopping = early_stopping
        self.count = max(2, 1 + end_tokens) * width
        self.step = 0
        self.running = prompts.new_full((rows, width, self.start + new_tokens), filler)
        self.running[:, :, : self.start] = prompts[:, None]
        self.origins = prompts.new_full((rows, width, new_tokens), -1)
        # At first all beams are alike: only one of them may be gone on from.
        self.running_scores = torch.zeros(rows, width, device=device).index_fill_(
            1, torch.arange(1, width, device=device), BARRED
        )
        self.best = Candidates(
            torch.full((rows, width), BARRED, device=device),
            self.running.clone(),
            self.origins.clone(),
            torch.zeros(rows, width, dtype=torch.bool, device=device),
        )
        self.open = torch.ones(rows, 1, dtype=torch.bool, device=device)

    @property
    def length(self) -> int:
        """Positions so far."""
        return self.start + self.step

    @property
    def sequences(self) -> Tensor:
        """The running beams' tokens so far (B x K, length)."""
        return self.running[:, :, : self.length].flatten(0, 1)

    def advance(self, log_probabilities: Tensor, ends: Callable[[Tensor], Tensor], pick: "Picker") -> Tensor:
        """Go one token on.

        Args:
            log_probabilities: (B x K, vocab) of the next token.
            ends: maps sequences (rows, length) to whether each has ended (rows,).
            pick: chooses `count` of (B, K x vocab) sums of log probabilities.

        Returns:
            for each beam (B x K,) the row that it went on from.
        """
        candidates = self._continue(log_probabilities, pick)
        self.step += 1
        tokens = candidates.sequences[:, :, : self.length]
        candidates.ended = ends(tokens.flatten(0, 1)).view(candidates.scores.shape)
        self._keep_running(candidates)
        self._keep_best(candidates)
        self.open = self._may_improve()
        self._all_ended = bool(candidates.ended.all())
        return self.origins[:, :, self.step - 1].flatten()

    def _continue(self, log_probabilities: Tensor, pick: "Picker") -> Candidates:
        rows, width = self.running_scores.shape
        vocab = log_probabilities.shape[-1]
        sums = log_probabilities.view(rows, width, vocab) + self.running_scores[:, :, None]
        scores, indices = pick(sums.flatten(1), min(self.count, width * vocab))
        parents, tokens = indices // vocab, indices % vocab
        sequences, origins = _take(self.running, parents), _take(self.origins, parents)
        sequences[:, :, self.length] = tokens
        first = torch.arange(rows, device=indices.device)[:, None] * width
        origins[:, :, self.step] = parents + first
        return Candidates(scores, sequences, origins, torch.empty(0))

    def _keep_running(self, candidates: Candidates) -> None:
        """Go on with the best K that have not ended."""
        scores = candidates.scores + candidates.ended * BARRED
        self.running_scores, kept = scores.topk(self.width)
        self.running, self.origins = _take(candidates.sequences, kept), _take(candidates.origins, kept)

    def _keep_best(self, candidates: Candidates) -> None:
        """Keep the best K of what had ended and what ends now, of which only the first K candidates count."""
        ended = candidates.ended.clone()
        ended[:, self.width :] = False
        full = self.best.ended.all(1, keepdim=True) if self.early_stopping is True else torch.zeros_like(self.open)
        barred = (~ended).float() + full.float() + (~self.open).float()
        scores = candidates.scores / self.step**self.length_penalty + barred * BARRED
        merged = torch.cat([self.best.scores, scores], 1)
        scores, kept = merged.topk(self.width)
        self.best = Candidates(
            scores,
            _take(torch.cat([self.best.sequences, candidates.sequences], 1), kept),
            _take(torch.cat([self.best.origins, candidates.origins], 1), kept),
            torch.cat([self.best.ended, ended], 1).gather(1, kept),
        )

    def _may_improve(self) -> Tensor:
        """Whether the best running beam (B, 1) could still beat the worst of the finished ones."""
        favours_long = self.early_stopping == "never" and self.length_penalty > 0
        length = self.new_tokens if favours_long else self.step
        possible = self.running_scores[:, :1] / length**self.length_penalty
        worst = self.best.scores.amin(1, keepdim=True)
        return self.open & (possible > torch.where(self.best.ended, worst, BARRED)).any(1, keepdim=True)

    def go_on(self) -> bool:
        """Whether any row has something to gain from another step."""
        if self.step == 0:
            return True
        full = self.early_stopping is True and bool(self.best.ended.all())
        return bool(self.open.any()) and not full and not self._all_ended


Picker = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""Chooses so many of (B, N) scores: returns scores and indices (B, count), best first."""


def _take(beams: Tensor, indices: Tensor) -> Tensor:
    """Return the beams (B, C, ...) of (B, K, ...) at indices (B, C)."""
    return beams.gather(1, indices[:, :, None].expand(-1, -1, beams.shape[2]))
