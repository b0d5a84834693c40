"""Tiny models of the Flax wing with the weights of their PyTorch counterparts, whose numbers they are held against."""

import tempfile
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch

import modeloutputs.flax as flax_wing
import modeloutputs.torch as torch_wing

SIZES: dict[str, dict[str, Any]] = {
    "Bert": {
        "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32,
        "max_position_embeddings": 24,
    },
    "OpenAIGPT": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 24},
    "GPT2": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 24},
    "Llama": {
        "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 24,
    },
    "Bart": {
        "vocab_size": 40, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 24,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model of both wings."""

    family: str
    torch_class: str
    flax_class: str
    returns: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def name(self) -> str:
        return (
            self.flax_class
            + "".join(f", {name}" for name in self.settings if name in ("add_cross_attention",))
            + (", untied" if self.settings.get("tie_word_embeddings") is False else "")
        )

    @property
    def is_seq2seq(self) -> bool:
        return self.family == "Bart" and "CausalLM" not in self.flax_class

    @property
    def crosses(self) -> bool:
        return bool(self.settings.get("add_cross_attention")) or self.flax_class == "FlaxBartForCausalLM"

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, 2, 7) if "MultipleChoice" in self.flax_class else (3, 7)

    def config(self) -> Any:
        return getattr(torch_wing, f"{self.family}Config")(**SIZES[self.family], **self.settings)


def _bert(head: str, returns: str, **settings: Any) -> Case:
    return Case("Bert", f"Bert{head}", f"FlaxBert{head}", returns, settings)


CROSSES = {"is_decoder": True, "add_cross_attention": True}

CASES = (
    _bert("Model", "FlaxBaseModelOutputWithPooling"),
    _bert("ForMaskedLM", "FlaxMaskedLMOutput"),
    _bert("ForMaskedLM", "FlaxMaskedLMOutput", tie_word_embeddings=False),
    Case("Bert", "BertLMHeadModel", "FlaxBertForCausalLM", "FlaxCausalLMOutputWithCrossAttentions", CROSSES),
    _bert("ForNextSentencePrediction", "FlaxNextSentencePredictorOutput"),
    _bert("ForSequenceClassification", "FlaxSequenceClassifierOutput", num_labels=3),
    _bert("ForTokenClassification", "FlaxTokenClassifierOutput"),
    _bert("ForMultipleChoice", "FlaxMultipleChoiceModelOutput"),
    _bert("ForQuestionAnswering", "FlaxQuestionAnsweringModelOutput"),
    Case("OpenAIGPT", "OpenAIGPTModel", "FlaxOpenAIGPTModel", "FlaxBaseModelOutput"),
    Case("OpenAIGPT", "OpenAIGPTLMHeadModel", "FlaxOpenAIGPTLMHeadModel", "FlaxMaskedLMOutput"),
    Case("GPT2", "GPT2Model", "FlaxGPT2Model", "FlaxBaseModelOutputWithPastAndCrossAttentions"),
    Case(
        "GPT2", "GPT2LMHeadModel", "FlaxGPT2LMHeadModel", "FlaxCausalLMOutputWithCrossAttentions",
        {"add_cross_attention": True, "scale_attn_by_inverse_layer_idx": True},
    ),
    Case(
        "GPT2", "GPT2ForSequenceClassification", "FlaxGPT2ForSequenceClassification", "FlaxSequenceClassifierOutput",
        {"pad_token_id": 0, "num_labels": 3},
    ),
    Case("Llama", "LlamaModel", "FlaxLlamaModel", "FlaxBaseModelOutputWithPast"),
    Case(
        "Llama", "LlamaForCausalLM", "FlaxLlamaForCausalLM", "FlaxCausalLMOutputWithCrossAttentions",
        {"tie_word_embeddings": True},
    ),
    Case(
        "Llama", "LlamaForCausalLM", "FlaxLlamaForCausalLM", "FlaxCausalLMOutputWithCrossAttentions",
        {"tie_word_embeddings": False, "attention_bias": True},
    ),
    Case("Bart", "BartModel", "FlaxBartModel", "FlaxSeq2SeqModelOutput"),
    Case("Bart", "BartModel", "FlaxBartModel", "FlaxSeq2SeqModelOutput", {"tie_word_embeddings": False}),
    Case("Bart", "BartForConditionalGeneration", "FlaxBartForConditionalGeneration", "FlaxSeq2SeqLMOutput"),
    Case(
        "Bart", "BartForSequenceClassification", "FlaxBartForSequenceClassification",
        "FlaxSeq2SeqSequenceClassifierOutput",
    ),
    Case(
        "Bart", "BartForQuestionAnswering", "FlaxBartForQuestionAnswering", "FlaxSeq2SeqQuestionAnsweringModelOutput"
    ),
    Case("Bart", "BartForCausalLM", "FlaxBartForCausalLM", "FlaxCausalLMOutputWithCrossAttentions"),
)  # fmt: skip
BY_NAME = {case.name: case for case in CASES}


@cache
def models(name: str) -> tuple[Any, Any, str]:
    """Return a model of each wing with equal weights, and the folder that the Flax one was loaded from.

    Its calls are not compiled: compiling takes longer than a few calls of such sizes. `test_calling` compiles them.
    """
    case = BY_NAME[name]
    torch.manual_seed(0)
    model = getattr(torch_wing, case.torch_class)(case.config()).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, which are 0 and 1 when they are new
            parameter.add_(torch.randn_like(parameter) * 0.05)
    folder = tempfile.mkdtemp()
    model.save_pretrained(folder)
    loaded = getattr(flax_wing, case.flax_class).from_pretrained(folder)
    loaded.jit_calls = False
    return model, loaded, folder


def inputs(case: Case) -> dict[str, Any]:
    """Return tokens as NumPy arrays, with an encoder's states where the model attends to some."""
    rng = np.random.default_rng(1)
    ids = rng.integers(3, 40, case.shape)
    if case.is_seq2seq:
        ids[:, -1] = 2  # an end, which the classifier reads
        ids[2, 4] = 2
    given: dict[str, Any] = {"input_ids": ids}
    if case.crosses:
        given["encoder_hidden_states"] = rng.standard_normal((3, 5, 16)).astype(np.float32)
        given["encoder_attention_mask"] = np.array([[1] * 5, [1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])
    return given


def padding(case: Case) -> Any:
    """Return a mask whose second row has padding on the left and whose third row has it on the right."""
    mask = np.ones(case.shape, np.int64)
    mask[1, ..., :3] = 0
    mask[2, ..., 5:] = 0
    return mask
