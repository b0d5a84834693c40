"""PyTorch: the output classes and the models that return them."""

try:
    import torch as torch
except ImportError:
    from ..errors import MissingDependencyError

    raise MissingDependencyError("modeloutputs.torch needs PyTorch; install modeloutputs[torch]") from None

from ..configs import BartConfig, BertConfig, GPT2Config, LlamaConfig, OpenAIGPTConfig
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
from .cache import Cache
from .generation import GenerateOutput
from .gpt import OpenAIGPTLMHeadModel, OpenAIGPTModel
from .gpt2 import GPT2ForSequenceClassification, GPT2LMHeadModel, GPT2Model
from .inference import compile_for_inference
from .llama import LlamaForCausalLM, LlamaModel
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
from .pretrained import PreTrainedModel
from .settings import GenerationSettings

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
    "GPT2ForSequenceClassification",
    "GPT2LMHeadModel",
    "GPT2Model",
    "GPT2Tokenizer",
    "GenerateOutput",
    "GenerationSettings",
    "LlamaConfig",
    "LlamaForCausalLM",
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
    "compile_for_inference",
    "load_language_model",
]
