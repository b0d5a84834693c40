"""Models of a few thousand weights for every BERT head, and inputs and labels that fit them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from modeloutputs import ModelOutput
from modeloutputs.configs import BertConfig
from modeloutputs.torch import bert_heads, outputs
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
DECODER = {"is_decoder": True, "add_cross_attention": True}
CHOICES = 2
LENGTHS = (7, 4, 6, 3)
"""Tokens of each row in tests of padding; multiple choice has two rows of two choices."""
WIDTH = max(LENGTHS)

Labels = Callable[[int, int], dict[str, Tensor]]


@dataclass(frozen=True)
class Head:
    """One way to configure one model class.

    `labels` makes, for a number of rows and their length, the arguments that a loss needs. `pooled` names the fields
    that are computed from a row's first token alone.
    """

    cls: type[PreTrainedModel[BertConfig]]
    returns: type[ModelOutput]
    labels: Labels | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pooled: tuple[str, ...] = ()
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.cls.__name__}, {self.variant}" if self.variant else self.cls.__name__

    @property
    def decodes(self) -> bool:
        return bool(self.settings.get("is_decoder"))

    @property
    def has_choices(self) -> bool:
        return self.cls is bert_heads.BertForMultipleChoice

    def model(self, **changes: Any) -> PreTrainedModel[BertConfig]:
        """Return a tiny model in evaluation mode, no weight of which is left at 0 or 1."""
        return randomise(self.cls(BertConfig(**{**SIZES, **self.settings, **changes}))).eval()

    def shaped(self, inputs: Mapping[str, Any], choices: int = CHOICES) -> dict[str, Any]:
        """Give the inputs, whose first axis is all sequences, the choices axis where the model wants it."""
        if not self.has_choices:
            return dict(inputs)
        return {
            name: value.unflatten(0, (-1, choices)) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }

    def inputs(self, rows: int = 4, length: int = WIDTH) -> dict[str, Any]:
        """Return token ids of unpadded rows."""
        return self.shaped({"input_ids": token_ids(rows, length)})

    def labels_for(self, rows: int, length: int) -> dict[str, Tensor]:
        """Return the arguments that make the model compute a loss; none for a model that has none."""
        return {} if self.labels is None else self.labels(rows, length)


def randomise(module: nn.Module, seed: int = 0) -> Any:
    """Draw every parameter anew: a bias at 0 or a norm at 1 would hide that it is not used."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
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
BY_NAME = {head.name: head for head in HEADS}
