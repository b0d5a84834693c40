"""PyTorch: the output classes and the models that return them."""

try:
    import torch as torch
except ImportError:
    from ..errors import MissingDependencyError

    raise MissingDependencyError("modeloutputs.torch needs PyTorch; install modeloutputs[torch]") from None

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes
from .cache import Cache
from .outputs import (
    BaseModelOutput,
    BaseModelOutputWithCrossAttentions,
    BaseModelOutputWithPast,
    BaseModelOutputWithPastAndCrossAttentions,
    BaseModelOutputWithPooling,
    BaseModelOutputWithPoolingAndCrossAttentions,
    CausalLMOutput,
    CausalLMOutputWithCrossAttentions,
    CausalLMOutputWithPast,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    NextSentencePredictorOutput,
    QuestionAnsweringModelOutput,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
    Seq2SeqQuestionAnsweringModelOutput,
    Seq2SeqSequenceClassifierOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

if TYPE_CHECKING:
    from ..architectures import BartConfig, BertConfig, GPT2Config, LlamaConfig, OpenAIGPTConfig
    from ..generation.config import GenerationConfig
    from ..generation.settings import GenerationSettings
    from ..tokenizers import BartTokenizer, BertTokenizer, GPT2Tokenizer, LlamaTokenizer, OpenAIGPTTokenizer
    from .auto import load_language_model
    from .bart import BartDecoder, BartEncoder, BartModel
    from .bart_heads import (
        BartForCausalLM,
        BartForConditionalGeneration,
        BartForQuestionAnswering,
        BartForSequenceClassification,
    )
    from .bert import BertModel
    from .bert_heads import (
        BertForMaskedLM,
        BertForMultipleChoice,
        BertForNextSentencePrediction,
        BertForQuestionAnswering,
        BertForSequenceClassification,
        BertForTokenClassification,
        BertLMHeadModel,
    )
    from .generation import GenerateOutput
    from .gpt import OpenAIGPTModel
    from .gpt2 import GPT2Model
    from .gpt2_heads import (
        GPT2ForQuestionAnswering,
        GPT2ForSequenceClassification,
        GPT2ForTokenClassification,
        GPT2LMHeadModel,
    )
    from .gpt_heads import OpenAIGPTLMHeadModel
    from .inference import compile_for_inference
    from .llama import LlamaModel
    from .llama_heads import (
        LlamaForCausalLM,
        LlamaForQuestionAnswering,
        LlamaForSequenceClassification,
        LlamaForTokenClassification,
    )
    from .pretrained import PreTrainedModel
    from .products import use_product
    from .trainer import TrainerMixin

__all__ = [
    "BartConfig",
    "BartDecoder",
    "BartEncoder",
    "BartForCausalLM",
    "BartForConditionalGeneration",
    "BartForQuestionAnswering",
    "BartForSequenceClassification",
    "BartModel",
    "BartTokenizer",
    "BaseModelOutput",
    "BaseModelOutputWithCrossAttentions",
    "BaseModelOutputWithPast",
    "BaseModelOutputWithPastAndCrossAttentions",
    "BaseModelOutputWithPooling",
    "BaseModelOutputWithPoolingAndCrossAttentions",
    "BertConfig",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertLMHeadModel",
    "BertModel",
    "BertTokenizer",
    "Cache",
    "CausalLMOutput",
    "CausalLMOutputWithCrossAttentions",
    "CausalLMOutputWithPast",
    "GPT2Config",
    "GPT2ForQuestionAnswering",
    "GPT2ForSequenceClassification",
    "GPT2ForTokenClassification",
    "GPT2LMHeadModel",
    "GPT2Model",
    "GPT2Tokenizer",
    "GenerateOutput",
    "GenerationConfig",
    "GenerationSettings",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaForQuestionAnswering",
    "LlamaForSequenceClassification",
    "LlamaForTokenClassification",
    "LlamaModel",
    "LlamaTokenizer",
    "MaskedLMOutput",
    "MultipleChoiceModelOutput",
    "NextSentencePredictorOutput",
    "OpenAIGPTConfig",
    "OpenAIGPTLMHeadModel",
    "OpenAIGPTModel",
    "OpenAIGPTTokenizer",
    "PreTrainedModel",
    "QuestionAnsweringModelOutput",
    "Seq2SeqLMOutput",
    "Seq2SeqModelOutput",
    "Seq2SeqQuestionAnsweringModelOutput",
    "Seq2SeqSequenceClassifierOutput",
    "SequenceClassifierOutput",
    "TokenClassifierOutput",
    "TrainerMixin",
    "compile_for_inference",
    "load_language_model",
    "use_product",
]

if not TYPE_CHECKING:  # to a type checker this would say that every name is there
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            ".architectures": ("BartConfig", "BertConfig", "GPT2Config", "LlamaConfig", "OpenAIGPTConfig"),
            ".generation.config": ("GenerationConfig",),
            ".generation.settings": ("GenerationSettings",),
            ".tokenizers": ("BartTokenizer", "BertTokenizer", "GPT2Tokenizer", "LlamaTokenizer", "OpenAIGPTTokenizer"),
            "auto": ("load_language_model",),
            "bart": ("BartDecoder", "BartEncoder", "BartModel"),
            "bart_heads": (
                "BartForCausalLM",
                "BartForConditionalGeneration",
                "BartForQuestionAnswering",
                "BartForSequenceClassification",
            ),
            "bert": ("BertModel",),
            "bert_heads": (
                "BertForMaskedLM",
                "BertForMultipleChoice",
                "BertForNextSentencePrediction",
                "BertForQuestionAnswering",
                "BertForSequenceClassification",
                "BertForTokenClassification",
                "BertLMHeadModel",
            ),
            "generation": ("GenerateOutput",),
            "gpt": ("OpenAIGPTModel",),
            "gpt_heads": ("OpenAIGPTLMHeadModel",),
            "gpt2": ("GPT2Model",),
            "gpt2_heads": (
                "GPT2ForQuestionAnswering",
                "GPT2ForSequenceClassification",
                "GPT2ForTokenClassification",
                "GPT2LMHeadModel",
            ),
            "inference": ("compile_for_inference",),
            "llama": ("LlamaModel",),
            "llama_heads": (
                "LlamaForCausalLM",
                "LlamaForQuestionAnswering",
                "LlamaForSequenceClassification",
                "LlamaForTokenClassification",
            ),
            "pretrained": ("PreTrainedModel",),
            "products": ("use_product",),
            "trainer": ("TrainerMixin",),
        },
    )
