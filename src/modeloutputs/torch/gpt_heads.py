"""GPT's language model."""

from ..architectures import OpenAIGPTConfig
from ..architectures.tasks import CAUSAL_LM
from .generation import GenerationMixin
from .gpt import OpenAIGPTModel, OpenAIGPTPreTrainedModel
from .heads import CausalLMHead
from .outputs import CausalLMOutput

__all__ = ["OpenAIGPTLMHeadModel"]


class OpenAIGPTLMHeadModel(GenerationMixin, OpenAIGPTPreTrainedModel, CausalLMHead[OpenAIGPTConfig, CausalLMOutput]):
    """Predicts each next token; returns CausalLMOutput."""

    task = CAUSAL_LM
    output_class = CausalLMOutput
    keeps_cache = False

    def __init__(self, config: OpenAIGPTConfig) -> None:
        super().__init__(config)
        with self._building():
            self.transformer = OpenAIGPTModel(config)
            self._add_lm_head(config.n_embd, config.vocab_size)
