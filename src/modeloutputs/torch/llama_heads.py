"""Llama's heads: its language model, classifiers of rows and tokens, question answering."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..architectures import LlamaConfig
from ..architectures.llama import WEIGHT_NAMES
from ..architectures.tasks import CAUSAL_LM
from .decoder_heads import LastTokenClassifier, SpanFinder, TokenClassifier
from .generation import GenerationMixin
from .heads import CausalLMHead
from .llama import LlamaModel, LlamaPreTrainedModel
from .outputs import CausalLMOutputWithPast

__all__ = [
    "LlamaForCausalLM",
    "LlamaForQuestionAnswering",
    "LlamaForSequenceClassification",
    "LlamaForTokenClassification",
]


class LlamaForCausalLM(GenerationMixin, LlamaPreTrainedModel, CausalLMHead[LlamaConfig, CausalLMOutputWithPast]):
    """Predicts each next token; returns CausalLMOutputWithPast."""

    task = CAUSAL_LM
    output_class = CausalLMOutputWithPast
    has_token_types = False

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        with self._building():
            self.model = LlamaModel(config)
            self._add_lm_head(config.hidden_size, config.vocab_size)


class LlamaForSequenceClassification(LlamaPreTrainedModel, LastTokenClassifier[LlamaConfig]):
    """Llama with a head of rows; see `LastTokenClassifier`."""

    has_token_types = False

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        with self._building():
            self.model = LlamaModel(config)
            self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)


class LlamaForTokenClassification(LlamaPreTrainedModel, TokenClassifier[LlamaConfig]):
    """Llama with a head of tokens; see `TokenClassifier`."""

    has_token_types = False

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        with self._building():
            self.model = LlamaModel(config)
            self.dropout = self._new_dropout(config.classifier_dropout)
            self.score = nn.Linear(config.hidden_size, config.num_labels)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self._scored(outputs, self.score)


class LlamaForQuestionAnswering(LlamaPreTrainedModel, SpanFinder[LlamaConfig]):
    """Llama with a head of spans; see `SpanFinder`. In its checkpoints the base model is `transformer`."""

    has_token_types = False
    weight_names = replace(WEIGHT_NAMES, prefix="transformer", tied={})

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        with self._building():
            self.transformer = LlamaModel(config)
            self.qa_outputs = nn.Linear(config.hidden_size, 2)
