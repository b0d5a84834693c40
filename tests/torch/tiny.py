"""Models of a few thousand weights for every model and head, and inputs and labels that fit them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from modeloutputs import ModelOutput
from modeloutputs.architectures import BartConfig, BertConfig, Config, GPT2Config, LlamaConfig, OpenAIGPTConfig
from modeloutputs.torch import (
    bart,
    bart_heads,
    bert_heads,
    gpt,
    gpt2,
    gpt2_heads,
    gpt_heads,
    llama,
    llama_heads,
    outputs,
)
from modeloutputs.torch.bert import BertModel
from modeloutputs.torch.pretrained import PreTrainedModel

# For products as small as these a second thread is no gain, and on a busy machine a loss.
torch.set_num_threads(1)

SIZES = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "max_position_embeddings": 40,
}
GPT_SIZES = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}
LLAMA_SIZES = {**SIZES, "num_key_value_heads": 2}
BART_SIZES = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 37,
    "decoder_layers": 3,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 41,
    "max_position_embeddings": 40,
}
"""Encoder and decoder differ in layers and width; a variant has other heads too."""
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 20,
}
DECODER = {"is_decoder": True, "add_cross_attention": True}
CHOICES = 2
LENGTHS = (7, 4, 6, 3)
"""Tokens of each row in tests of padding; multiple choice has two rows of two choices."""
WIDTH = max(LENGTHS)
SOURCE_LENGTHS = (5, 2, 4, 3)
"""Tokens of each row of an encoder's input, where it is not as long as the decoder's."""

# What an encoder-decoder calls its decoder's inputs, and those of its encoder, which the tests call `source_...`.
SEQ2SEQ_NAMES = {
    **{name: f"decoder_{name}" for name in ("input_ids", "attention_mask", "inputs_embeds", "position_ids")},
    "source_ids": "input_ids",
    "source_mask": "attention_mask",
    "source_embeds": "inputs_embeds",
}
EVERY_TOKEN_HAS = frozenset({"token_type_ids", "position_ids"})

Labels = Callable[[int, int], dict[str, Tensor]]


@dataclass(frozen=True)
class Head:
    """One way to configure one model class.

    Args:
        cls: the class.
        returns: what it returns.
        labels: makes, for a number of rows and their length, the arguments that a loss needs.
        settings: of its configuration, beside sizes.
        pooled: fields that are computed from one token of a row alone.
        variant: tells heads of one class apart.
        config: its configuration's class.
        sizes: of its configuration.
        peer_takes: inputs beside tokens and mask that the peer's forward has.
        peer_takes_3d_masks: whether it takes a mask of each query.
        peer_labels: turns labels into those that make the peer compute the same loss.
        peer_flags: what the peer is told in every call, so that it returns the fields that we do.
    """

    cls: type[PreTrainedModel[Any]]
    returns: type[ModelOutput]
    labels: Labels | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pooled: tuple[str, ...] = ()
    variant: str = ""
    config: type[Config] = BertConfig
    sizes: Mapping[str, Any] = field(default_factory=lambda: SIZES)
    peer_takes: frozenset[str] = EVERY_TOKEN_HAS
    peer_takes_3d_masks: bool = True
    peer_labels: Callable[[Tensor], Tensor] = lambda labels: labels
    peer_flags: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def name(self) -> str:
        return f"{self.cls.__name__}, {self.variant}" if self.variant else self.cls.__name__

    @property
    def decodes(self) -> bool:
        """Whether no position sees a later one (in the decoder, if there is an encoder too)."""
        if self.config is BertConfig:
            return bool(self.settings.get("is_decoder"))
        return self.cls is not bart.BartEncoder

    @property
    def caches(self) -> bool:
        return "past_key_values" in self.returns.__output_fields__

    @property
    def steps(self) -> bool:
        """Whether a sequence can be passed in chunks; a class is read off a whole one."""
        return self.caches and "logits" not in self.pooled

    @property
    def crosses(self) -> bool:
        """Whether it is given an encoder's states."""
        return "cross_attentions" in self.returns.__output_fields__ and not self.is_seq2seq

    @property
    def is_seq2seq(self) -> bool:
        return "encoder_last_hidden_state" in self.returns.__output_fields__

    @property
    def source_lengths(self) -> tuple[int, ...]:
        """Lengths of the encoder's rows: BART's classifier reads the decoder's state where the encoder's row ends."""
        return LENGTHS if "logits" in self.pooled else SOURCE_LENGTHS

    @property
    def has_choices(self) -> bool:
        return self.cls is bert_heads.BertForMultipleChoice

    def with_settings(self, **settings: Any) -> "Head":
        """Return the same head configured otherwise."""
        return replace(self, settings={**self.settings, **settings})

    def configuration(self, **changes: Any) -> Any:
        return self.config(**{**self.sizes, **self.settings, **changes})

    def model(self, **changes: Any) -> Any:
        """Return a tiny model in evaluation mode, no weight of which is left at 0 or 1."""
        return randomise(self.cls(self.configuration(**changes))).eval()

    def shallow_model(self, **changes: Any) -> Any:
        """Return a tiny model of one layer: compilers take seconds for each."""
        layers = dict.fromkeys((name for name in self.sizes if name == "n_layer" or name.endswith("_layers")), 1)
        return self.model(**layers, **changes)

    def shaped(self, inputs: Mapping[str, Any], choices: int = CHOICES) -> dict[str, Any]:
        """Give inputs the names that the model has for them and, where it wants it, the choices axis.

        Their first axis is all sequences, and without prefix they are the decoder's.
        """
        if self.is_seq2seq:
            return {SEQ2SEQ_NAMES.get(name, name): value for name, value in inputs.items()}
        if not self.has_choices:
            return dict(inputs)
        return {
            name: value.unflatten(0, (-1, choices)) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }

    def inputs(self, rows: int = 4, length: int = WIDTH) -> dict[str, Any]:
        """Return token ids of unpadded rows."""
        source = {"source_ids": source_ids(self.source_lengths[:rows])} if self.is_seq2seq else {}
        return self.shaped({"input_ids": token_ids(rows, length), **source})

    def labels_for(self, rows: int, length: int) -> dict[str, Tensor]:
        """Return the arguments that make the model compute a loss; none for a model that has none."""
        return {} if self.labels is None else self.labels(rows, length)


def randomise(module: nn.Module, seed: int = 0) -> Any:
    """Draw every parameter anew: a bias at 0 or a norm at 1 would hide that it is not used."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        buffers = [(name, buffer) for name, buffer in module.named_buffers() if name.endswith("logits_bias")]
        for name, parameter in [*module.named_parameters(), *buffers]:
            offset = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(offset + 0.2 * torch.randn(parameter.shape, generator=generator))
    return module


# -- inputs -----------------------------------------------------------------------------------------------------------


def token_ids(rows: int, length: int, vocab: int = SIZES["vocab_size"], seed: int = 1) -> Tensor:
    """Return ids of which none is the padding token's."""
    return torch.randint(1, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


def padded_mask(lengths: Sequence[int], side: str, width: int = WIDTH) -> Tensor:
    """Return a mask (rows, width) with `lengths` ones in each row and the zeros on one side."""
    index = torch.arange(width)
    rows = [index < n if side == "right" else index >= width - n for n in lengths]
    return torch.stack(rows).long()


def padded_ids(lengths: Sequence[int], side: str, vocab: int = SIZES["vocab_size"], width: int = WIDTH) -> Tensor:
    """Return ids (rows, width) whose tokens are the same on whichever side the padding is."""
    tokens = token_ids(len(lengths), width, vocab)
    ids = torch.zeros_like(tokens)
    for row, n in enumerate(lengths):
        place = slice(0, n) if side == "right" else slice(width - n, None)
        ids[row, place] = tokens[row, :n]
    return ids


def source_ids(lengths: Sequence[int], side: str = "right", end: int = 2, vocab: int = 99) -> Tensor:
    """Return an encoder's ids; each row ends with the token that BART reads its class at, and has no other."""
    width = max(lengths)
    ids = padded_ids(lengths, side, vocab, width)
    ids = torch.where(ids == end, end + 1, ids)
    last = torch.tensor([n - 1 if side == "right" else width - 1 for n in lengths])
    ids[torch.arange(len(lengths)), last] = end
    return ids


def states(rows: int, length: int, width: int = SIZES["hidden_size"], seed: int = 2) -> Tensor:
    """Return vectors such as an encoder's output or a caller's own embeddings."""
    return torch.randn(rows, length, width, generator=torch.Generator().manual_seed(seed))


# -- labels -----------------------------------------------------------------------------------------------------------


def _classes(count: int, *shape: int) -> Tensor:
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(3))


def _token_labels(classes: int) -> Labels:
    def labels(rows: int, length: int) -> dict[str, Tensor]:
        chosen = _classes(classes, rows, length)
        chosen[:, 1::3] = -100
        return {"labels": chosen}

    return labels


def _row_labels(classes: int) -> Labels:
    return lambda rows, _: {"labels": _classes(classes, rows)}


def _answer_spans(rows: int, length: int) -> dict[str, Tensor]:
    starts, ends = _classes(length, rows), _classes(length, rows)
    starts[0] = ends[0] = length + 2  # an answer that truncation cut off
    return {"start_positions": starts, "end_positions": ends}


HEADS = (
    Head(BertModel, outputs.BaseModelOutputWithPooling, pooled=("pooler_output",), variant="encoder"),
    Head(
        BertModel,
        outputs.BaseModelOutputWithPoolingAndCrossAttentions,
        settings=DECODER,
        pooled=("pooler_output",),
        variant="decoder",
    ),
    Head(
        bert_heads.BertLMHeadModel,
        outputs.CausalLMOutputWithCrossAttentions,
        labels=_token_labels(SIZES["vocab_size"]),
        settings=DECODER,
    ),
    Head(bert_heads.BertForMaskedLM, outputs.MaskedLMOutput, labels=_token_labels(SIZES["vocab_size"])),
    Head(
        bert_heads.BertForNextSentencePrediction,
        outputs.NextSentencePredictorOutput,
        labels=_row_labels(2),
        pooled=("logits",),
    ),
    Head(
        bert_heads.BertForSequenceClassification,
        outputs.SequenceClassifierOutput,
        labels=_row_labels(3),
        settings={"num_labels": 3},
        pooled=("logits",),
        variant="one class",
    ),
    Head(
        bert_heads.BertForSequenceClassification,
        outputs.SequenceClassifierOutput,
        labels=lambda rows, _: {"labels": _classes(2, rows, 3).float()},
        settings={"num_labels": 3},
        pooled=("logits",),
        variant="many classes",
    ),
    Head(
        bert_heads.BertForSequenceClassification,
        outputs.SequenceClassifierOutput,
        labels=lambda rows, _: {"labels": states(rows, 1, 1)[:, 0, 0]},
        settings={"num_labels": 1},
        pooled=("logits",),
        variant="regression",
    ),
    Head(
        bert_heads.BertForMultipleChoice,
        outputs.MultipleChoiceModelOutput,
        labels=lambda rows, _: {"labels": _classes(CHOICES, rows // CHOICES)},
        pooled=("logits",),
    ),
    Head(
        bert_heads.BertForTokenClassification,
        outputs.TokenClassifierOutput,
        labels=_token_labels(5),
        settings={"num_labels": 5},
    ),
    Head(bert_heads.BertForQuestionAnswering, outputs.QuestionAnsweringModelOutput, labels=_answer_spans),
)
"""BERT's."""

_VOCAB_LABELS = _token_labels(99)


def _gpt(cls: Any, returns: type[ModelOutput], **more: Any) -> Head:
    return Head(cls, returns, config=OpenAIGPTConfig, sizes=GPT_SIZES, peer_takes_3d_masks=False, **more)


def _gpt2(cls: Any, returns: type[ModelOutput], **more: Any) -> Head:
    return Head(cls, returns, config=GPT2Config, sizes=GPT_SIZES, **more)


def _gpt2_classifier(variant: str, labels: Labels, count: int) -> Head:
    return _gpt2(
        gpt2_heads.GPT2ForSequenceClassification,
        outputs.SequenceClassifierOutput,
        labels=labels,
        settings={"num_labels": count, "pad_token_id": 0},
        pooled=("logits",),
        variant=variant,
        peer_flags={"use_cache": False},
    )


def _llama(cls: Any, returns: type[ModelOutput], **more: Any) -> Head:
    return Head(cls, returns, config=LlamaConfig, sizes=LLAMA_SIZES, peer_takes=frozenset({"position_ids"}), **more)


def _bart(cls: Any, returns: type[ModelOutput], **more: Any) -> Head:
    return Head(cls, returns, config=BartConfig, sizes=BART_SIZES, peer_takes=frozenset(), **more)


def _moved_left(labels: Tensor) -> Tensor:
    """What the peer of BartForCausalLM wants: labels that stand where each is to be predicted."""
    return torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1)


GPT_HEADS = (
    _gpt(gpt.OpenAIGPTModel, outputs.BaseModelOutput),
    _gpt(gpt_heads.OpenAIGPTLMHeadModel, outputs.CausalLMOutput, labels=_VOCAB_LABELS),
)
GPT2_HEADS = (
    _gpt2(
        gpt2.GPT2Model,
        outputs.BaseModelOutputWithPastAndCrossAttentions,
        settings={"add_cross_attention": True},
    ),
    _gpt2(
        gpt2_heads.GPT2LMHeadModel,
        outputs.CausalLMOutputWithCrossAttentions,
        labels=_VOCAB_LABELS,
        settings={"add_cross_attention": True},
    ),
    _gpt2(
        gpt2_heads.GPT2LMHeadModel,
        outputs.CausalLMOutputWithCrossAttentions,
        labels=_VOCAB_LABELS,
        settings={
            "add_cross_attention": True,
            "scale_attn_weights": False,
            "scale_attn_by_inverse_layer_idx": True,
            "n_inner": 37,
            "activation_function": "relu",
            "tie_word_embeddings": False,
        },
        variant="scaled, untied",
    ),
    _gpt2_classifier("one class", _row_labels(3), 3),
    _gpt2_classifier("many classes", lambda rows, _: {"labels": _classes(2, rows, 3).float()}, 3),
    _gpt2_classifier("regression", lambda rows, _: {"labels": states(rows, 1, 1)[:, 0, 0]}, 1),
)
LLAMA_HEADS = (
    _llama(llama.LlamaModel, outputs.BaseModelOutputWithPast),
    _llama(llama_heads.LlamaForCausalLM, outputs.CausalLMOutputWithPast, labels=_VOCAB_LABELS),
    _llama(
        llama_heads.LlamaForCausalLM,
        outputs.CausalLMOutputWithPast,
        labels=_VOCAB_LABELS,
        settings={
            "head_dim": 6,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
            "rope_theta": 500.0,
            "rope_scaling": LLAMA3,
        },
        variant="llama3, tied",
    ),
)
BART_HEADS = (
    _bart(bart.BartModel, outputs.Seq2SeqModelOutput),
    _bart(bart.BartEncoder, outputs.BaseModelOutput),
    _bart(bart.BartDecoder, outputs.BaseModelOutputWithPastAndCrossAttentions),
    _bart(
        bart_heads.BartForConditionalGeneration,
        outputs.Seq2SeqLMOutput,
        labels=_VOCAB_LABELS,
    ),
    _bart(
        bart_heads.BartForConditionalGeneration,
        outputs.Seq2SeqLMOutput,
        labels=_VOCAB_LABELS,
        settings={
            "scale_embedding": True,
            "tie_word_embeddings": False,
            "activation_function": "relu",
            "decoder_attention_heads": 8,
        },
        variant="scaled, untied",
    ),
    _bart(
        bart_heads.BartForSequenceClassification,
        outputs.Seq2SeqSequenceClassifierOutput,
        labels=_row_labels(3),
        pooled=("logits",),
    ),
    _bart(
        bart_heads.BartForQuestionAnswering,
        outputs.Seq2SeqQuestionAnsweringModelOutput,
        labels=_answer_spans,
    ),
    _bart(
        bart_heads.BartForCausalLM,
        outputs.CausalLMOutputWithCrossAttentions,
        labels=_VOCAB_LABELS,
        # The peer's cache has as many layers as the encoder that is not there would have.
        settings={"is_decoder": True, "is_encoder_decoder": False, "encoder_layers": 3},
        peer_labels=_moved_left,
    ),
)
NEW_HEADS = (*GPT_HEADS, *GPT2_HEADS, *LLAMA_HEADS, *BART_HEADS)
ALL_HEADS = (*HEADS, *NEW_HEADS)
SHARED_HEADS = frozenset(
    f"{family}For{task}"
    for family in ("GPT2", "Llama")
    for task in ("SequenceClassification", "TokenClassification", "QuestionAnswering")
)
"""Heads over any decoder, which differ from one another by a linear layer; `test_decoder_heads` holds them all."""
BY_NAME = {head.name: head for head in ALL_HEADS}
