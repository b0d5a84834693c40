"""Language models: scores for each entry of the vocabulary, read off the states of a model beneath."""

from typing import Any, Generic, TypeVar, Unpack

from torch import Tensor

from ..architectures import Config
from ..errors import InputError
from ..output import ModelOutput
from .arguments import DecoderInputs
from .generation import GenerationMixin
from .layers import Linear
from .losses import NumItems, causal_lm_loss
from .pretrained import ModelWithHead
from .products import linear

__all__ = ["CausalLanguageModel", "LanguageModel", "kept_positions"]

ConfigType = TypeVar("ConfigType", bound=Config)
OutputType = TypeVar("OutputType", bound=ModelOutput)


class LanguageModel(GenerationMixin, ModelWithHead[ConfigType]):
    """Base of models that predict each next token from the states of their base model.

    `lm_head` is absent where the embeddings are tied: they are then read backwards (Press & Wolf, 2017).
    """

    lm_head: Linear | None

    def _add_head(self, width: int, vocab_size: int) -> None:
        self.lm_head = None if self.config.tie_word_embeddings else Linear(width, vocab_size, bias=False)

    def _logits(self, hidden: Tensor) -> Tensor:
        """Map (B, S, hidden) to (B, S, vocab)."""
        return linear(hidden, self.get_input_embeddings().weight if self.lm_head is None else self.lm_head.weight)

    def _predict(
        self,
        cls: type[OutputType],
        outputs: Any,
        labels: Tensor | None,
        num_items: NumItems | None,
        label_smoothing: float,
        logits_to_keep: int,
        return_dict: bool | None,
    ) -> OutputType:
        """Return what a model that predicts the next token returns, with the loss of `labels` (B, S)."""
        logits = self._logits(kept_positions(outputs.last_hidden_state, logits_to_keep, labels))
        loss = None
        if labels is not None:
            loss = causal_lm_loss(logits, labels, num_items=num_items, label_smoothing=label_smoothing)
        return self._finish(cls, outputs, return_dict, loss=loss, logits=logits)


class LanguageInputs(DecoderInputs, total=False):
    """Inputs of a language model, of which each takes those that its base model does."""

    token_type_ids: Tensor | None


class CausalLanguageModel(LanguageModel[ConfigType], Generic[ConfigType, OutputType]):
    """Base of language models that keep a cache: `output_class` says what they return."""

    output_class: type[OutputType]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[LanguageInputs],
    ) -> OutputType:
        """Return logits (B, S, vocab) and, with `labels` (B, S) aligned with the tokens, the loss of each next one.

        With labels, `use_cache` is off unless passed: training has no use for a cache.
        """
        outputs = self.base_model(
            input_ids,
            attention_mask,
            use_cache=False if use_cache is None and labels is not None else use_cache,
            return_dict=True,
            **inputs,
        )
        options = (labels, num_items, label_smoothing, logits_to_keep, return_dict)
        return self._predict(self.output_class, outputs, *options)


def kept_positions(hidden: Tensor, logits_to_keep: int, labels: Tensor | None) -> Tensor:
    """Return the last positions' states; all of them for 0.

    Raises:
        InputError: no number or a negative one, or labels whose loss needs all.
    """
    if isinstance(logits_to_keep, bool) or not isinstance(logits_to_keep, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"logits_to_keep is {logits_to_keep!r}; expected how many of the last positions, 0 for all")
    if not logits_to_keep:
        return hidden
    if logits_to_keep < 0 or labels is not None:
        what = f"logits_to_keep is {logits_to_keep}"
        raise InputError(
            f"{what} with labels, whose loss needs all" if labels is not None else f"{what}; expected >= 0"
        )
    return hidden[:, -logits_to_keep:]
