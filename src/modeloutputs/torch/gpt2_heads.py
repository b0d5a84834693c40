"""GPT-2's heads: its language model and a classifier."""

from typing import Any

from torch import Tensor, nn

from ..architectures import GPT2Config
from ..architectures.tasks import CAUSAL_LM, SEQUENCE_CLASSIFICATION
from .generation import GenerationMixin
from .gpt2 import GPT2Model, GPT2PreTrainedModel
from .heads import CausalLMHead, LabelHead
from .inputs import last_position, rows_at
from .outputs import CausalLMOutputWithCrossAttentions, SequenceClassifierOutput

__all__ = ["GPT2ForSequenceClassification", "GPT2LMHeadModel"]


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


class GPT2ForSequenceClassification(GPT2PreTrainedModel, LabelHead[GPT2Config, SequenceClassifierOutput]):
    """Gives each row a class, several classes or a number, from its last token; returns SequenceClassifierOutput.

    A row's last token is the last unmasked one; without a mask, the last that is not `pad_token_id`.
    `sequence_classification_loss` chooses the loss.
    """

    task = SEQUENCE_CLASSIFICATION
    output_class = SequenceClassifierOutput

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        with self._building():
            self.transformer = GPT2Model(config)
            self.score = nn.Linear(config.n_embd, config.num_labels, bias=False)

    def _base_outputs(self, *inputs: Any, **options: Any) -> Any:
        return super()._base_outputs(*inputs, use_cache=False, **options)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        last = last_position(input_ids, attention_mask, self.config.pad_token_id)
        return self.score(rows_at(outputs.last_hidden_state, last))
