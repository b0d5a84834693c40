"""JAX and Flax: the output classes and the models that return them."""

try:
    import jax as jax
except ImportError:
    from ..errors import MissingDependencyError

    raise MissingDependencyError("modeloutputs.flax needs JAX; install modeloutputs[flax]") from None

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes
from .outputs import (
    FlaxBaseModelOutput,
    FlaxBaseModelOutputWithPast,
    FlaxBaseModelOutputWithPastAndCrossAttentions,
    FlaxBaseModelOutputWithPooling,
    FlaxCausalLMOutputWithCrossAttentions,
    FlaxMaskedLMOutput,
    FlaxMultipleChoiceModelOutput,
    FlaxNextSentencePredictorOutput,
    FlaxQuestionAnsweringModelOutput,
    FlaxSeq2SeqLMOutput,
    FlaxSeq2SeqModelOutput,
    FlaxSeq2SeqQuestionAnsweringModelOutput,
    FlaxSeq2SeqSequenceClassifierOutput,
    FlaxSequenceClassifierOutput,
    FlaxTokenClassifierOutput,
)

FlaxCausalLMOutput = FlaxMaskedLMOutput
"""Another name of the class, under which decoders' users import it."""

if TYPE_CHECKING:
    from ..architectures import BartConfig, BertConfig, GPT2Config, LlamaConfig, OpenAIGPTConfig
    from ..generation.config import GenerationConfig
    from ..generation.settings import GenerationSettings
    from ..tokenizers import BartTokenizer, BertTokenizer, GPT2Tokenizer, LlamaTokenizer, OpenAIGPTTokenizer
    from .auto import (
        FlaxAutoModel,
        FlaxAutoModelForCausalLM,
        FlaxAutoModelForMaskedLM,
        FlaxAutoModelForMultipleChoice,
        FlaxAutoModelForNextSentencePrediction,
        FlaxAutoModelForQuestionAnswering,
        FlaxAutoModelForSeq2SeqLM,
        FlaxAutoModelForSequenceClassification,
        FlaxAutoModelForTokenClassification,
    )
    from .bart import (
        FlaxBartModule,
        shift_tokens_right,
    )
    from .bart_causal import (
        FlaxBartForCausalLM,
        FlaxBartForCausalLMModule,
    )
    from .bart_heads import (
        FlaxBartForConditionalGeneration,
        FlaxBartForConditionalGenerationModule,
        FlaxBartForQuestionAnswering,
        FlaxBartForQuestionAnsweringModule,
        FlaxBartForSequenceClassification,
        FlaxBartForSequenceClassificationModule,
        FlaxBartModel,
        FlaxBartPreTrainedModel,
    )
    from .bert import (
        FlaxBertModel,
        FlaxBertModule,
        FlaxBertPreTrainedModel,
    )
    from .bert_heads import (
        FlaxBertForCausalLM,
        FlaxBertForCausalLMModule,
        FlaxBertForMaskedLM,
        FlaxBertForMaskedLMModule,
        FlaxBertForMultipleChoice,
        FlaxBertForMultipleChoiceModule,
        FlaxBertForNextSentencePrediction,
        FlaxBertForNextSentencePredictionModule,
        FlaxBertForQuestionAnswering,
        FlaxBertForQuestionAnsweringModule,
        FlaxBertForSequenceClassification,
        FlaxBertForSequenceClassificationModule,
        FlaxBertForTokenClassification,
        FlaxBertForTokenClassificationModule,
    )
    from .cache import (
        FlaxCache,
    )
    from .generate_output import (
        FlaxGenerateOutput,
    )
    from .gpt import (
        FlaxOpenAIGPTLMHeadModel,
        FlaxOpenAIGPTLMHeadModule,
        FlaxOpenAIGPTModel,
        FlaxOpenAIGPTModule,
        FlaxOpenAIGPTPreTrainedModel,
    )
    from .gpt2 import (
        FlaxGPT2ForSequenceClassification,
        FlaxGPT2ForSequenceClassificationModule,
        FlaxGPT2LMHeadModel,
        FlaxGPT2LMHeadModule,
        FlaxGPT2Model,
        FlaxGPT2Module,
        FlaxGPT2PreTrainedModel,
    )
    from .llama import (
        FlaxLlamaForCausalLM,
        FlaxLlamaForCausalLMModule,
        FlaxLlamaModel,
        FlaxLlamaModule,
        FlaxLlamaPreTrainedModel,
    )
    from .pretrained import (
        FlaxPreTrainedModel,
    )

__all__ = [
    "BartConfig",
    "BartTokenizer",
    "BertConfig",
    "BertTokenizer",
    "FlaxAutoModel",
    "FlaxAutoModelForCausalLM",
    "FlaxAutoModelForMaskedLM",
    "FlaxAutoModelForMultipleChoice",
    "FlaxAutoModelForNextSentencePrediction",
    "FlaxAutoModelForQuestionAnswering",
    "FlaxAutoModelForSeq2SeqLM",
    "FlaxAutoModelForSequenceClassification",
    "FlaxAutoModelForTokenClassification",
    "FlaxBartForCausalLM",
    "FlaxBartForCausalLMModule",
    "FlaxBartForConditionalGeneration",
    "FlaxBartForConditionalGenerationModule",
    "FlaxBartForQuestionAnswering",
    "FlaxBartForQuestionAnsweringModule",
    "FlaxBartForSequenceClassification",
    "FlaxBartForSequenceClassificationModule",
    "FlaxBartModel",
    "FlaxBartModule",
    "FlaxBartPreTrainedModel",
    "FlaxBaseModelOutput",
    "FlaxBaseModelOutputWithPast",
    "FlaxBaseModelOutputWithPastAndCrossAttentions",
    "FlaxBaseModelOutputWithPooling",
    "FlaxBertForCausalLM",
    "FlaxBertForCausalLMModule",
    "FlaxBertForMaskedLM",
    "FlaxBertForMaskedLMModule",
    "FlaxBertForMultipleChoice",
    "FlaxBertForMultipleChoiceModule",
    "FlaxBertForNextSentencePrediction",
    "FlaxBertForNextSentencePredictionModule",
    "FlaxBertForQuestionAnswering",
    "FlaxBertForQuestionAnsweringModule",
    "FlaxBertForSequenceClassification",
    "FlaxBertForSequenceClassificationModule",
    "FlaxBertForTokenClassification",
    "FlaxBertForTokenClassificationModule",
    "FlaxBertModel",
    "FlaxBertModule",
    "FlaxBertPreTrainedModel",
    "FlaxCache",
    "FlaxCausalLMOutput",
    "FlaxCausalLMOutputWithCrossAttentions",
    "FlaxGPT2ForSequenceClassification",
    "FlaxGPT2ForSequenceClassificationModule",
    "FlaxGPT2LMHeadModel",
    "FlaxGPT2LMHeadModule",
    "FlaxGPT2Model",
    "FlaxGPT2Module",
    "FlaxGPT2PreTrainedModel",
    "FlaxGenerateOutput",
    "FlaxLlamaForCausalLM",
    "FlaxLlamaForCausalLMModule",
    "FlaxLlamaModel",
    "FlaxLlamaModule",
    "FlaxLlamaPreTrainedModel",
    "FlaxMaskedLMOutput",
    "FlaxMultipleChoiceModelOutput",
    "FlaxNextSentencePredictorOutput",
    "FlaxOpenAIGPTLMHeadModel",
    "FlaxOpenAIGPTLMHeadModule",
    "FlaxOpenAIGPTModel",
    "FlaxOpenAIGPTModule",
    "FlaxOpenAIGPTPreTrainedModel",
    "FlaxPreTrainedModel",
    "FlaxQuestionAnsweringModelOutput",
    "FlaxSeq2SeqLMOutput",
    "FlaxSeq2SeqModelOutput",
    "FlaxSeq2SeqQuestionAnsweringModelOutput",
    "FlaxSeq2SeqSequenceClassifierOutput",
    "FlaxSequenceClassifierOutput",
    "FlaxTokenClassifierOutput",
    "GPT2Config",
    "GPT2Tokenizer",
    "GenerationConfig",
    "GenerationSettings",
    "LlamaConfig",
    "LlamaTokenizer",
    "OpenAIGPTConfig",
    "OpenAIGPTTokenizer",
    "shift_tokens_right",
]

if not TYPE_CHECKING:  # to a type checker this would say that every name is there
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            ".architectures": ("BartConfig", "BertConfig", "GPT2Config", "LlamaConfig", "OpenAIGPTConfig"),
            ".generation.config": ("GenerationConfig",),
            ".generation.settings": ("GenerationSettings",),
            ".tokenizers": ("BartTokenizer", "BertTokenizer", "GPT2Tokenizer", "LlamaTokenizer", "OpenAIGPTTokenizer"),
            "auto": (
                "FlaxAutoModel",
                "FlaxAutoModelForCausalLM",
                "FlaxAutoModelForMaskedLM",
                "FlaxAutoModelForMultipleChoice",
                "FlaxAutoModelForNextSentencePrediction",
                "FlaxAutoModelForQuestionAnswering",
                "FlaxAutoModelForSeq2SeqLM",
                "FlaxAutoModelForSequenceClassification",
                "FlaxAutoModelForTokenClassification",
            ),
            "bart": (
                "FlaxBartModule",
                "shift_tokens_right",
            ),
            "bart_causal": (
                "FlaxBartForCausalLM",
                "FlaxBartForCausalLMModule",
            ),
            "bart_heads": (
                "FlaxBartForConditionalGeneration",
                "FlaxBartForConditionalGenerationModule",
                "FlaxBartForQuestionAnswering",
                "FlaxBartForQuestionAnsweringModule",
                "FlaxBartForSequenceClassification",
                "FlaxBartForSequenceClassificationModule",
                "FlaxBartModel",
                "FlaxBartPreTrainedModel",
            ),
            "bert": (
                "FlaxBertModel",
                "FlaxBertModule",
                "FlaxBertPreTrainedModel",
            ),
            "bert_heads": (
                "FlaxBertForCausalLM",
                "FlaxBertForCausalLMModule",
                "FlaxBertForMaskedLM",
                "FlaxBertForMaskedLMModule",
                "FlaxBertForMultipleChoice",
                "FlaxBertForMultipleChoiceModule",
                "FlaxBertForNextSentencePrediction",
                "FlaxBertForNextSentencePredictionModule",
                "FlaxBertForQuestionAnswering",
                "FlaxBertForQuestionAnsweringModule",
                "FlaxBertForSequenceClassification",
                "FlaxBertForSequenceClassificationModule",
                "FlaxBertForTokenClassification",
                "FlaxBertForTokenClassificationModule",
            ),
            "gpt": (
                "FlaxOpenAIGPTLMHeadModel",
                "FlaxOpenAIGPTLMHeadModule",
                "FlaxOpenAIGPTModel",
                "FlaxOpenAIGPTModule",
                "FlaxOpenAIGPTPreTrainedModel",
            ),
            "gpt2": (
                "FlaxGPT2ForSequenceClassification",
                "FlaxGPT2ForSequenceClassificationModule",
                "FlaxGPT2LMHeadModel",
                "FlaxGPT2LMHeadModule",
                "FlaxGPT2Model",
                "FlaxGPT2Module",
                "FlaxGPT2PreTrainedModel",
            ),
            "llama": (
                "FlaxLlamaForCausalLM",
                "FlaxLlamaForCausalLMModule",
                "FlaxLlamaModel",
                "FlaxLlamaModule",
                "FlaxLlamaPreTrainedModel",
            ),
            "generate_output": ("FlaxGenerateOutput",),
            "pretrained": ("FlaxPreTrainedModel",),
            "cache": ("FlaxCache",),
        },
        needs=("flax", "Flax"),
    )
