"""The tasks of `modeloutputs run`, in PyTorch: model class, batches, predictions in words."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from ..architectures import BertConfig
from ..architectures.tasks import IGNORED
from ..errors import CheckpointError, InputError
from ..files.checkpoints import find_checkpoint
from ..files.folders import check_folder
from ..output import ModelOutput
from ..tokenizers import BatchEncoding, PreTrainedTokenizer, load_tokenizer
from ..torch import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
    PreTrainedModel,
)
from . import predictions
from .batches import MOST_TOKENS, group_by_length, join_batches, with_progress
from .labels import read_labels

__all__ = ["Asked", "run_task"]

CHOICE = "multiple-choice"


@dataclass(frozen=True)
class Asked:
    """What `run` was asked for."""

    task: str
    texts: list[str]
    pairs: list[str] | None = None
    labels: list[str] = field(default_factory=list[str])
    max_length: int | None = None
    flags: dict[str, bool] = field(default_factory=dict[str, bool])
    keep_values: bool = True
    """Whether the output's values are wanted; else, of more than one batch, only its shapes are kept."""


def run_task(name_or_path: str, asked: Asked) -> tuple[ModelOutput, list[str]]:
    """Run texts through the task's model; return its output and a line of prediction for each text.

    Texts of like lengths are run together, in batches of bounded size; rows and lines are in the order of the texts.

    Raises:
        InputError: texts, pairs or labels that the task cannot use.
        CheckpointError: the checkpoint cannot be loaded, or is not of a kind that has tasks.
    """
    runner = _Runner(name_or_path, asked)
    groups = runner.groups()
    parts: list[ModelOutput] = []
    losses: list[Tensor] = []
    lines: dict[int, str] = {}
    with torch.inference_mode(), with_progress(len(asked.texts)) as advance:
        for group in groups:
            output, predicted = runner.run(group, is_whole=len(groups) == 1)
            lines.update(zip(group, predicted, strict=False))  # choices have one line in all
            if len(groups) > 1:
                losses += [output.pop("loss")] if "loss" in output else []
                output = output if asked.keep_values else output.map(lambda tensor: tensor.to("meta"))
            parts.append(output)
            advance(len(group))
        joined = join_batches(parts, groups)
        if losses:
            joined["loss"] = torch.stack(losses).sum()
    return joined, [lines[i] for i in sorted(lines)]


class _Runner:
    """A task's model and tokenizer, and what is run through them."""

    def __init__(self, name_or_path: str, asked: Asked) -> None:
        self.model_class, self.predict, overrides = _TASKS[asked.task]
        self.asked = asked
        folder = find_checkpoint(name_or_path)
        _check_kind(str(folder), check_folder(folder))
        torch.random.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # a head that the checkpoint lacks is random, but the same in every run
        self.tokenizer: PreTrainedTokenizer = load_tokenizer(folder)
        self.model: Any = self.model_class.from_pretrained(folder, **overrides)
        self.config = cast("BertConfig", self.model.config)
        room = self.config.max_position_embeddings
        self.limit = room if asked.max_length is None else min(asked.max_length, room)
        if asked.task == CHOICE and (len(asked.texts) != 1 or not asked.pairs or len(asked.pairs) < 2):
            raise InputError(f"{CHOICE} takes one --text and two or more --text-pair, its choices")
        self.labels = read_labels(asked.task, asked.labels, self.config, len(asked.texts))

    def groups(self) -> list[list[int]]:
        """Return batches of indices of texts, and say how many texts are cut."""
        if self.asked.task == CHOICE:
            return [[0]]
        whole = self.tokenizer(self.asked.texts, self.asked.pairs, truncation=True, max_length=self.limit)
        cut = sum(bool(row.overflowing) for row in whole.encodings)
        if cut:
            sys.stderr.write(f"{cut} of {len(whole.encodings)} texts were cut to {self.limit} tokens\n")
        # Scores of all words, and weights of all pairs of positions, take much more memory than states.
        is_large = self.asked.task in ("masked-lm", "causal-lm") or self.asked.flags.get("output_attentions")
        return group_by_length([len(ids) for ids in whole["input_ids"]], MOST_TOKENS // 4 if is_large else MOST_TOKENS)

    def run(self, group: Sequence[int], *, is_whole: bool) -> tuple[ModelOutput, list[str]]:
        """Return the output and the predictions of one batch."""
        texts = [self.asked.texts[i] for i in group]
        encoding = self._choices() if self.asked.task == CHOICE else self._encode(texts, group)
        labels: dict[str, Any] = {} if self.labels is None else {"labels": self.labels[list(group)]}
        if labels and not is_whole:  # so that the losses of batches add up to that of all
            labels["num_items"] = int((cast("Tensor", self.labels) != IGNORED).sum())
        output = self.model(**encoding, **labels, **self.asked.flags)
        return output, self.predict(predictions.Example(output, encoding, self.tokenizer, self.config, texts))

    def _encode(self, texts: list[str], group: Sequence[int]) -> BatchEncoding:
        pairs = None if self.asked.pairs is None else [self.asked.pairs[i] for i in group]
        return self.tokenizer(
            texts, pairs, padding=len(texts) > 1, truncation=True, max_length=self.limit, return_tensors="pt"
        )

    def _choices(self) -> BatchEncoding:
        """Pair the text with each of its choices: (1, choices, seq)."""
        choices = cast("list[str]", self.asked.pairs)
        encoding = self._encode(self.asked.texts * len(choices), range(len(choices)))
        return BatchEncoding({name: value.unsqueeze(0) for name, value in encoding.items()}, encoding.encodings)


def _check_kind(folder: str, config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    if kind not in (None, "bert"):
        raise CheckpointError(
            f"{folder!r} is a {kind!r} model, and the tasks of `modeloutputs run` are those of 'bert' models; "
            "`modeloutputs generate` continues texts with it"
        )


_TASKS: dict[str, tuple[type[PreTrainedModel[Any]], predictions.Predictor, dict[str, Any]]] = {
    "features": (BertModel, predictions.predict_features, {}),
    "sequence-classification": (BertForSequenceClassification, predictions.predict_rows, {}),
    "token-classification": (BertForTokenClassification, predictions.predict_tokens, {}),
    "masked-lm": (BertForMaskedLM, predictions.predict_masks, {}),
    "causal-lm": (BertLMHeadModel, predictions.predict_next_token, {"is_decoder": True}),
    "next-sentence": (BertForNextSentencePrediction, predictions.predict_next_sentence, {}),
    "question-answering": (BertForQuestionAnswering, predictions.predict_span, {}),
    CHOICE: (BertForMultipleChoice, predictions.predict_choice, {}),
}
