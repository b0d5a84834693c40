"""The tasks of `modeloutputs run`: the model of a framework, batches, predictions in words."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np

from ..architectures import BertConfig
from ..architectures.tasks import IGNORED
from ..errors import CheckpointError, InputError
from ..files.checkpoints import find_checkpoint
from ..files.folders import check_folder
from ..output import ModelOutput
from ..tokenizers import BatchEncoding, PreTrainedTokenizer, load_tokenizer
from . import predictions
from .batches import MOST_TOKENS, cut_positions, group_by_length, join_batches, with_progress
from .labels import read_labels
from .wings import FrameworkName, load_wing

__all__ = ["Answer", "Asked", "run_task"]

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


class Answer(NamedTuple):
    """What came of the texts."""

    output: ModelOutput
    predictions: list[str]
    """A line for each text."""

    loss: float | None
    """Of labels, where the output has no field for it."""


def run_task(name_or_path: str, asked: Asked, framework: FrameworkName = FrameworkName.TORCH) -> Answer:
    """Run texts through the task's model in a framework.

    Texts of like lengths are run together, in batches of bounded size; rows and lines are in the order of the texts.

    Raises:
        InputError: texts, pairs or labels that the task cannot use, or a framework that has no models.
        CheckpointError: the checkpoint cannot be loaded, or is not of a kind that has tasks.
        MissingDependencyError: the framework is not installed.
    """
    runner = _Runner(name_or_path, asked, framework)
    groups = runner.groups()
    is_kept = asked.keep_values or len(groups) == 1
    parts: list[ModelOutput] = []
    losses: list[Any] = []
    lines: dict[int, str] = {}
    with with_progress(len(asked.texts)) as advance:
        for group in groups:
            output, loss, predicted = runner.run(group, is_whole=len(groups) == 1)
            lines.update(zip(group, predicted, strict=False))  # choices have one line in all
            losses += [] if loss is None else [loss]
            parts.append(output if is_kept else runner.wing.keep_shapes(output))
            advance(len(group))
        joined = join_batches(parts, groups) if is_kept else runner.wing.join_shapes(parts)
    return Answer(joined, [lines[i] for i in sorted(lines)], runner.wing.add_loss(joined, losses))


class _Runner:
    """A task's model and tokenizer, and what is run through them."""

    def __init__(self, name_or_path: str, asked: Asked, framework: FrameworkName) -> None:
        self.asked, self.predict = asked, _PREDICTORS[asked.task]
        self.wing = load_wing(framework)
        folder = find_checkpoint(name_or_path)
        _check_kind(str(folder), check_folder(folder))
        self.tokenizer: PreTrainedTokenizer = load_tokenizer(folder)
        self.model: Any = self.wing.load_task_model(asked.task, folder)
        self.config = cast("BertConfig", self.model.config)
        room = self.config.max_position_embeddings
        self.limit = room if asked.max_length is None else min(asked.max_length, room)
        if asked.task == CHOICE and (len(asked.texts) != 1 or not asked.pairs or len(asked.pairs) < 2):
            raise InputError(f"{CHOICE} takes one --text and two or more --text-pair, its choices")
        self.labels = read_labels(asked.task, asked.labels, self.config, len(asked.texts))
        self.lengths: list[int] = []

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
        most = MOST_TOKENS // 4 if is_large else MOST_TOKENS
        self.lengths = [len(ids) for ids in whole["input_ids"]]
        groups = group_by_length(self.lengths, most)
        # Batches of equal lengths then have equal numbers of rows.
        return groups if len(groups) == 1 else group_by_length([self._padded(n) for n in self.lengths], most)

    def _padded(self, length: int) -> int:
        """Return to how many tokens a text is padded where there are many."""
        step = 1 if self.tokenizer.pad_token_id is None else self.wing.LENGTH_STEP
        return min(-(-length // step) * step, max(self.limit, length))

    def run(self, group: Sequence[int], *, is_whole: bool) -> tuple[ModelOutput, Any, list[str]]:
        """Return the output, the loss and the predictions of one batch."""
        texts = [self.asked.texts[i] for i in group]
        longest = 0 if is_whole else max(self.lengths[i] for i in group)
        encoding = self._choices() if self.asked.task == CHOICE else self._encode(texts, group, self._padded(longest))
        labels = None if self.labels is None else self.labels[list(group)]
        counted = None
        if labels is not None and not is_whole:  # so that the losses of batches add up to that of all
            counted = int(np.sum(self.labels != IGNORED))
        output, loss = self.wing.call(self.model, encoding, self.asked.flags, labels, counted)
        predicted = self.predict(predictions.Example(output, encoding, self.tokenizer, self.config, texts))
        return output if longest == self._padded(longest) else cut_positions(output, longest), loss, predicted

    def _encode(self, texts: list[str], group: Sequence[int], length: int = 0) -> BatchEncoding:
        """Tokenize texts, padded to a length, or to their longest for 0."""
        pairs = None if self.asked.pairs is None else [self.asked.pairs[i] for i in group]
        return self.tokenizer(
            texts,
            pairs,
            padding="max_length" if length and self.tokenizer.pad_token_id is not None else len(texts) > 1,
            truncation=True,
            max_length=length or self.limit,
            return_tensors="np",
        )

    def _choices(self) -> BatchEncoding:
        """Pair the text with each of its choices: (1, choices, seq)."""
        choices = cast("list[str]", self.asked.pairs)
        encoding = self._encode(self.asked.texts * len(choices), range(len(choices)))
        return BatchEncoding({name: value[None] for name, value in encoding.items()}, encoding.encodings)


def _check_kind(folder: str, config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    if kind not in (None, "bert"):
        raise CheckpointError(
            f"{folder!r} is a {kind!r} model, and the tasks of `modeloutputs run` are those of 'bert' models; "
            "`modeloutputs generate` continues texts with it"
        )


_PREDICTORS: dict[str, predictions.Predictor] = {
    "features": predictions.predict_features,
    "sequence-classification": predictions.predict_rows,
    "token-classification": predictions.predict_tokens,
    "masked-lm": predictions.predict_masks,
    "causal-lm": predictions.predict_next_token,
    "next-sentence": predictions.predict_next_sentence,
    "question-answering": predictions.predict_span,
    CHOICE: predictions.predict_choice,
}
