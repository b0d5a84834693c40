"""Heads that decoders share beside the language model: of rows, tokens and spans. A class adds its base model.

Arguments are explained in `modeloutputs.torch.arguments`.
"""

from typing import Any, TypeVar

from torch import Tensor, nn

from ..architectures import Config
from ..architectures.tasks import QUESTION_ANSWERING, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION
from .heads import LabelHead, SpanHead
from .inputs import last_position, rows_at
from .outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput, TokenClassifierOutput
from .plain import apply_dropout

__all__ = ["LastTokenClassifier", "SpanFinder", "TokenClassifier"]

ConfigType = TypeVar("ConfigType", bound=Config)

_DEFAULT_DROPOUT = 0.1


class LastTokenClassifier(LabelHead[ConfigType, SequenceClassifierOutput]):
    """Gives each row a class, several classes or a number, from its last token; returns SequenceClassifierOutput.

    A row's last token is the last unmasked one; without a mask, the last that is not `pad_token_id`.
    `sequence_classification_loss` chooses the loss.
    """

    task = SEQUENCE_CLASSIFICATION
    output_class = SequenceClassifierOutput
    score: nn.Module

    def _base_outputs(self, *inputs: Any, **options: Any) -> Any:
        return super()._base_outputs(*inputs, use_cache=False, **options)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        last = last_position(input_ids, attention_mask, self.config.pad_token_id)
        return self.score(rows_at(outputs.last_hidden_state, last))


class TokenClassifier(LabelHead[ConfigType, TokenClassifierOutput]):
    """Gives each token a class, `labels` (B, S), from what is before it; returns TokenClassifierOutput."""

    task = TOKEN_CLASSIFICATION
    output_class = TokenClassifierOutput
    dropout: nn.Module

    def _base_outputs(self, *inputs: Any, **options: Any) -> Any:
        return super()._base_outputs(*inputs, use_cache=False, **options)

    def _scored(self, outputs: Any, layer: nn.Module) -> Tensor:
        return layer(apply_dropout(self.dropout, outputs.last_hidden_state))

    @staticmethod
    def _new_dropout(rate: float | None) -> nn.Dropout:
        return nn.Dropout(_DEFAULT_DROPOUT if rate is None else rate)


class SpanFinder(SpanHead[ConfigType, QuestionAnsweringModelOutput]):
    """Finds where an answer starts and ends; returns QuestionAnsweringModelOutput."""

    task = QUESTION_ANSWERING
    output_class = QuestionAnsweringModelOutput
    qa_outputs: nn.Module

    def _base_outputs(self, *inputs: Any, **options: Any) -> Any:
        return super()._base_outputs(*inputs, use_cache=False, **options)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self.qa_outputs(outputs.last_hidden_state)
