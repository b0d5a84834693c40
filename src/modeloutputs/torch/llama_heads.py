"""Llama's language model."""

from ..architectures import LlamaConfig
from ..architectures.tasks import CAUSAL_LM
from .generation import GenerationMixin
from .heads import CausalLMHead
from .llama import LlamaModel, LlamaPreTrainedModel
from .outputs import CausalLMOutputWithPast

__all__ = ["LlamaForCausalLM"]


class LlamaForCausalLM(GenerationMixin, LlamaPreTrainedModel, CausalLMHead[LlamaConfig, CausalLMOutputWithPast]):
    """Predicts each next token; returns CausalLMOutputWithPast."""

    task = CAUSAL_LM
    output_class = CausalLMOutputWithPast

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        with self._building():
            self.model = LlamaModel(config)
            self._add_lm_head(config.hidden_size, config.vocab_size)
