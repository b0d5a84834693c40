"""GPT-2's heads: its language model and a classifier."""

from typing import Unpack

from torch import Tensor, nn

from ..architectures import GPT2Config
from ..architectures.tasks import CAUSAL_LM, SEQUENCE_CLASSIFICATION
from .arguments import Inputs
from .generation import GenerationMixin
from .gpt2 import GPT2Model, GPT2PreTrainedModel
from .heads import CausalLMHead, Head
from .inputs import last_position, rows_at
from .losses import NumItems
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


class GPT2ForSequenceClassification(GPT2PreTrainedModel, Head[GPT2Config, SequenceClassifierOutput]):
    """Gives each row a class, several classes or a number, from its last token; returns SequenceClassifierOutput."""

    task = SEQUENCE_CLASSIFICATION
    output_class = SequenceClassifierOutput

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        with self._building():
            self.transformer = GPT2Model(config)
            self.score = nn.Linear(config.n_embd, config.num_labels, bias=False)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> SequenceClassifierOutput:
        """Return logits (B, labels) and, with `labels`, the loss that `sequence_classification_loss` chooses.

        A row's last token is the last unmasked one; without a mask, the last that is not `pad_token_id`.
        """
        outputs = self._base_outputs(input_ids, attention_mask, token_type_ids, use_cache=False, **inputs)
        last = last_position(input_ids, attention_mask, self.config.pad_token_id)
        logits = self.score(rows_at(outputs.last_hidden_state, last))
        loss = self._loss(logits, labels, num_items, label_smoothing)
        return self._head_output(outputs, return_dict, loss=loss, logits=logits)
