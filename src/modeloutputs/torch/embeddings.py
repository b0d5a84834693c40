"""The tables of token embeddings of a model, and the scores tied to them: read, replaced, tied again, resized."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, InputError

__all__ = ["EmbeddingsMixin", "check_tied"]

_NOISE_VARIANCE = 1e-9
"""Variance of new rows around the mean of the old ones, in units of theirs."""

_ROWS_AT_A_TIME = 64


class EmbeddingsMixin(nn.Module):
    """Base of models, for their tables of tokens; names and meanings are those of transformers."""

    config: Any
    input_embeddings: ClassVar[str] = ""
    """Path of the table of token embeddings in a model without a head; a model with a head asks that model."""
    output_embeddings: ClassVar[str] = ""
    """Path of the layer that scores the vocabulary; empty where there is none."""

    # -- reading and replacing ----------------------------------------------------------------------------------

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        if self.input_embeddings:
            return cast("nn.Embedding", self.get_submodule(self.input_embeddings))
        return self._inner().get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table of token embeddings, and tie to the new one what is tied to it.

        Args:
            value: `nn.Embedding` (vocab, hidden), or a module that is called like one.
        """
        if self.input_embeddings:
            _set_submodule(self, self.input_embeddings, value)
        else:
            self._inner().set_input_embeddings(value)
        self.tie_weights()

    def get_output_embeddings(self) -> nn.Module | None:
        """Return the layer that scores the vocabulary; None where there is none."""
        return self.get_submodule(self.output_embeddings) if self.output_embeddings else None

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the layer that scores the vocabulary; `tie_weights` gives it the weight of the embeddings again.

        Raises:
            InputError: the model scores no vocabulary.
        """
        if not self.output_embeddings:
            raise InputError(f"{type(self).__name__} scores no vocabulary; it has no output embeddings to set")
        _set_submodule(self, self.output_embeddings, new_embeddings)

    def tie_weights(self) -> None:
        """Give the layer that scores the vocabulary the weight of the embeddings, where the configuration ties them."""
        scores = self.get_output_embeddings()
        weight = getattr(self.get_input_embeddings(), "weight", None)
        if self.config.tie_word_embeddings and isinstance(scores, nn.Linear) and isinstance(weight, nn.Parameter):
            scores.weight, scores.out_features = weight, weight.shape[0]

    def _inner(self) -> "EmbeddingsMixin":
        return cast("Any", self).base_model

    # -- resizing -----------------------------------------------------------------------------------------------

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Give the vocabulary another size: the tables of tokens, the scores with their bias, `config.vocab_size`.

        Rows that stay keep their values, at the front. Modules keep their identity, so hooks stay; an optimiser that
        holds the old parameters has to be made anew.

        Args:
            new_num_tokens: entries of the new vocabulary; None for as many as now.
            pad_to_multiple_of: round them up to a multiple of this.
            mean_resizing: draw new rows around the mean of the old ones (Hewitt, 2021), so that no new token becomes
                likelier than an old one; else from the distribution of initial weights.

        Returns:
            the table of token embeddings (new vocab, hidden).

        Raises:
            InputError: a number that is no positive integer, or tables or scores in modules that cannot be resized.

        Examples:
            >>> from modeloutputs.torch import GPT2Config, GPT2LMHeadModel
            >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2))
            >>> model.resize_token_embeddings(53, pad_to_multiple_of=8)
            Embedding(56, 8)
            >>> model.lm_head.weight is model.transformer.wte.weight, model.config.vocab_size
            (True, 56)
        """
        tables, scores = self._token_tables(), self.get_output_embeddings()
        size = _checked_size(new_num_tokens, pad_to_multiple_of, tables[0])
        _refuse_unknown(tables, scores)
        for table in tables:
            self._resize_table(table, size, mean_resizing)
        if isinstance(scores, nn.Linear):
            self._resize_scores(scores, size, mean_resizing)
        self.config.vocab_size = size
        self._after_resizing(size)
        self.tie_weights()
        return tables[0]

    def _token_tables(self) -> list[nn.Embedding]:
        """Return the different tables of tokens, the one of `get_input_embeddings` first."""
        return [self.get_input_embeddings()] if self.input_embeddings else self._inner()._token_tables()

    def _after_resizing(self, size: int) -> None:
        """Resize what else has an entry for each token."""

    def _resize_table(self, table: nn.Embedding, size: int, mean_resizing: bool) -> None:
        if size != table.num_embeddings:
            table.weight = self._resized(table.weight, size, mean_resizing)
            table.num_embeddings = size
        if table.padding_idx is not None and table.padding_idx >= size:
            table.padding_idx = None

    def _resize_scores(self, scores: nn.Linear, size: int, mean_resizing: bool) -> None:
        if size != scores.out_features and not self.config.tie_word_embeddings:
            scores.weight = self._resized(scores.weight, size, mean_resizing)
        bias = cast("nn.Parameter | None", scores.bias)
        if bias is not None and size != len(bias):
            # As in transformers, 0 where the scores are tied, whose new rows are as likely as the mean without it.
            around = mean_resizing and not self.config.tie_word_embeddings
            value = bias.detach().float().mean() if around else 0.0
            scores.bias = _with_rows(bias, torch.full((max(size - len(bias), 0),), float(value)), size)
        scores.out_features = size

    def _resized(self, weight: Tensor, size: int, mean_resizing: bool) -> nn.Parameter:
        count = max(size - len(weight), 0)
        old = weight.detach().float()
        if mean_resizing:
            new = _around_mean(old, count)
        else:
            spread = getattr(self.config, "initializer_range", 0.02)
            new = old.new_empty(count, old.shape[1]).normal_(0.0, spread)
        return _with_rows(weight, new, size)


def _checked_size(count: int | None, multiple: int | None, table: Any) -> int:
    size = getattr(table, "num_embeddings", None) if count is None else count
    for name, value in (("new_num_tokens", size), ("pad_to_multiple_of", 1 if multiple is None else multiple)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}; expected a positive integer, as len(tokenizer)")
    step = multiple or 1
    return -(-cast("int", size) // step) * step


def _refuse_unknown(tables: list[nn.Embedding], scores: nn.Module | None) -> None:
    for module, kind in [*((table, nn.Embedding) for table in tables), *([(scores, nn.Linear)] if scores else [])]:
        weight = getattr(module, "weight", None)
        if not isinstance(module, kind) or not isinstance(weight, nn.Parameter):
            raise InputError(
                f"the vocabulary of a {type(module).__qualname__} cannot be resized, only that of an "
                f"nn.{kind.__name__}; resize before putting adapters in or quantising"
            )


def _around_mean(old: Tensor, count: int) -> Tensor:
    """Return rows from a normal distribution with the mean of `old` (rows, width) and a fraction of its covariance."""
    mean = old.mean(0)
    centred = (old - mean) * (_NOISE_VARIANCE / len(old)) ** 0.5
    # A normal mixture of the centred rows has their covariance, of whatever rank.
    parts = [
        torch.randn(min(_ROWS_AT_A_TIME, count - start), len(old), device=old.device) @ centred
        for start in range(0, count, _ROWS_AT_A_TIME)
    ]
    return mean + torch.cat([old[:0], *parts])


def _with_rows(weight: Tensor, new: Tensor, size: int) -> nn.Parameter:
    """Return the first `size` rows of a weight and what follows them, as a parameter of the same kind."""
    rows = torch.cat([weight.detach()[:size], new.to(weight.device, weight.dtype)])
    return nn.Parameter(rows, requires_grad=weight.requires_grad)


def _set_submodule(model: nn.Module, path: str, value: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, value)


def check_tied(model: nn.Module, tied: Mapping[str, str]) -> None:
    """Refuse to save weights that the configuration ties and that have become two, of which loading reads one.

    Args:
        model: to be saved.
        tied: names of weights, and of those that they repeat.

    Raises:
        CheckpointError: naming both.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    for name, original in tied.items():
        first, second = weights.get(name), weights.get(original)
        if first is None or second is None or first is second or first.is_meta or second.is_meta:
            continue
        if first.shape != second.shape or not torch.equal(first, second):
            raise CheckpointError(
                f"{name!r} and {original!r} differ, but config.tie_word_embeddings is set and loading would read one "
                "for both; call tie_weights(), or set config.tie_word_embeddings=False"
            )
