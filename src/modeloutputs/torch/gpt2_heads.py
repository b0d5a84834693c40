"""GPT-2's heads: its language model, classifiers of rows and tokens, question answering."""

from typing import Any

from torch import Tensor, nn

from ..architectures import GPT2Config
from ..architectures.tasks import CAUSAL_LM
from .decoder_heads import LastTokenClassifier, SpanFinder, TokenClassifier
from .generation import GenerationMixin
from .gpt2 import GPT2Model, GPT2PreTrainedModel
from .heads import CausalLMHead
from .outputs import CausalLMOutputWithCrossAttentions

__all__ = [
    "GPT2ForQuestionAnswering",
    "GPT2ForSequenceClassification",
    "GPT2ForTokenClassification",
    "GPT2LMHeadModel",
]


class GPT2LMHeadModel(
    GenerationMixin, GPT2PreTrainedModel, CausalLMHead[GPT2Config, CausalLMOutputWithCrossAttentions]
):
    """Predicts each next token; returns CausalLMOutputWithCrossAttentions."""

    task = CAUSAL_LM
    output_class = CausalLMOutputWithCrossAttentions

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        with self._building():
            self.transformer = GPT2Model(config)
            self._add_lm_head(config.n_embd, config.vocab_size)


class GPT2ForSequenceClassification(GPT2PreTrainedModel, LastTokenClassifier[GPT2Config]):
    """GPT-2 with a head of rows; see `LastTokenClassifier`."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        with self._building():
            self.transformer = GPT2Model(config)
            self.score = nn.Linear(config.n_embd, config.num_labels, bias=False)


class GPT2ForTokenClassification(GPT2PreTrainedModel, TokenClassifier[GPT2Config]):
    """GPT-2 with a head of tokens; see `TokenClassifier`."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        with self._building():
            self.transformer = GPT2Model(config)
            self.dropout = self._new_dropout(config.classifier_dropout)
            self.classifier = nn.Linear(config.n_embd, config.num_labels)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self._scored(outputs, self.classifier)


class GPT2ForQuestionAnswering(GPT2PreTrainedModel, SpanFinder[GPT2Config]):
    """GPT-2 with a head of spans; see `SpanFinder`."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        with self._building():
            self.transformer = GPT2Model(config)
            self.qa_outputs = nn.Linear(config.n_embd, 2)
