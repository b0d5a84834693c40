"""The tasks of `modeloutputs run`, in PyTorch: model class, labels, and predictions in words."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..architectures import BertConfig
from ..errors import InputError
from ..output import ModelOutput
from ..tokenizers import BatchEncoding, BertTokenizer
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

__all__ = ["run_task"]


@dataclass(frozen=True)
class Example:
    """The inputs that a prediction is described by."""

    output: Any
    encoding: BatchEncoding
    tokenizer: BertTokenizer
    config: BertConfig
    texts: Sequence[str]


Predictor = Callable[[Example], list[str]]


def run_task(
    name_or_path: str,
    task: str,
    texts: list[str],
    pairs: list[str] | None,
    labels: list[str],
    max_length: int | None,
    flags: dict[str, bool],
) -> tuple[ModelOutput, list[str]]:
    """Run texts through the task's model; return its output and a line of prediction for each text.

    Raises:
        InputError: texts, pairs or labels that the task cannot use.
        CheckpointError: the checkpoint cannot be loaded.
    """
    model_class, predict, overrides = _TASKS[task]
    torch.random.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # a head that the checkpoint lacks is random, but the same in every run
    tokenizer = BertTokenizer.from_pretrained(name_or_path)
    model = model_class.from_pretrained(name_or_path, **overrides)
    config = cast("BertConfig", model.config)
    limit = min(max_length or config.max_position_embeddings, config.max_position_embeddings)
    if task == "multiple-choice":
        encoding, labels_of = _choices(tokenizer, texts, pairs, limit), _class_labels
    else:
        encoding = tokenizer(texts, pairs, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        labels_of = _LABELS.get(task)
    _report_truncation(encoding, limit)
    with torch.inference_mode():
        output = model(**encoding, **_labels(task, labels, labels_of), **flags)
    return output, predict(Example(output, encoding, tokenizer, config, texts))


def _report_truncation(encoding: BatchEncoding, limit: int) -> None:
    cut = [i for i, row in enumerate(encoding.encodings) if row.overflowing]
    if cut:
        sys.stderr.write(f"{len(cut)} of {len(encoding.encodings)} texts were cut to {limit} tokens\n")


def _choices(tokenizer: BertTokenizer, texts: list[str], choices: list[str] | None, limit: int) -> BatchEncoding:
    """Pair one text with each of its choices: (1, choices, seq)."""
    if len(texts) != 1 or not choices or len(choices) < 2:
        raise InputError("multiple-choice takes one --text and two or more --text-pair, its choices")
    encoding = tokenizer(
        texts * len(choices), choices, padding=True, truncation=True, max_length=limit, return_tensors="pt"
    )
    return BatchEncoding({name: value.unsqueeze(0) for name, value in encoding.items()}, encoding.encodings)


# -- labels ---------------------------------------------------------------------------------------------------------


def _class_labels(labels: list[str]) -> Tensor:
    try:
        return torch.tensor([int(label) for label in labels])
    except ValueError:
        raise InputError(f"--label is {' '.join(labels)!r}; expected class indices") from None


def _any_labels(labels: list[str]) -> Tensor:
    """Read class indices, or numbers for regression where one has a decimal point."""
    try:
        return torch.tensor([float(label) if "." in label else int(label) for label in labels])
    except ValueError:
        raise InputError(f"--label is {' '.join(labels)!r}; expected class indices, or numbers like 2.5") from None


def _labels(task: str, labels: list[str], read: Callable[[list[str]], Tensor] | None) -> dict[str, Tensor]:
    if not labels:
        return {}
    if read is None:
        raise InputError(f"--label has no meaning for {task}")
    return {"labels": read(labels)}


_LABELS: dict[str, Callable[[list[str]], Tensor]] = {
    "sequence-classification": _any_labels,
    "next-sentence": _class_labels,
}


# -- predictions ------------------------------------------------------------------------------------------------------


def _name(config: BertConfig, index: int) -> str:
    return cast("dict[int, str]", config.id2label)[index]


def _predict_features(example: Example) -> list[str]:
    norms = example.output.pooler_output.norm(dim=-1)
    return [
        f"{_quote(text)}: pooled vector of norm {norm:.3f}" for text, norm in zip(example.texts, norms, strict=True)
    ]


def _predict_rows(example: Example) -> list[str]:
    logits = example.output.logits.float()
    if logits.shape[1] == 1:
        return [
            f"{_quote(text)}: {value:.4f}" for text, value in zip(example.texts, logits[:, 0].tolist(), strict=True)
        ]
    several = example.config.problem_type == "multi_label_classification"
    probabilities = logits.sigmoid() if several else logits.softmax(-1)
    lines: list[str] = []
    for text, row in zip(example.texts, probabilities, strict=True):
        chosen = [i for i in range(len(row)) if row[i] > 0.5] if several else [int(row.argmax())]
        names = ", ".join(f"{_name(example.config, i)} ({row[i]:.1%})" for i in chosen) or "none"
        lines.append(f"{_quote(text)}: {names}")
    return lines


def _predict_next_sentence(example: Example) -> list[str]:
    follows = example.output.logits.softmax(-1)[:, 0].tolist()
    return [f"{_quote(text)}: the second follows with {p:.1%}" for text, p in zip(example.texts, follows, strict=True)]


def _predict_choice(example: Example) -> list[str]:
    row = example.output.logits.softmax(-1)[0]
    return [f"{_quote(example.texts[0])}: choice {int(row.argmax())} ({float(row.max()):.1%})"]


def _predict_tokens(example: Example) -> list[str]:
    best = example.output.logits.argmax(-1)
    lines: list[str] = []
    for i, row in enumerate(example.encoding.encodings):
        real = [j for j, special in enumerate(row.special_tokens_mask) if not special]
        lines.append(" ".join(f"{row.tokens[j]}/{_name(example.config, int(best[i, j]))}" for j in real))
    return lines


def _predict_masks(example: Example) -> list[str]:
    probabilities = example.output.logits.softmax(-1)
    masked = example.encoding.input_ids == example.tokenizer.mask_token_id
    lines: list[str] = []
    for i, text in enumerate(example.texts):
        for j in masked[i].nonzero()[:, 0].tolist():
            lines.append(f"{_quote(text)}: {_top_tokens(example.tokenizer, probabilities[i, j])}")
        if not masked[i].any():
            lines.append(f"{_quote(text)}: no {example.tokenizer.mask_token} in it to predict")
    return lines


def _predict_next_token(example: Example) -> list[str]:
    last = example.encoding.attention_mask.sum(-1) - 1
    probabilities = example.output.logits[torch.arange(len(last)), last].softmax(-1)
    return [
        f"{_quote(text)}: {_top_tokens(example.tokenizer, row)}"
        for text, row in zip(example.texts, probabilities, strict=True)
    ]


def _top_tokens(tokenizer: BertTokenizer, probabilities: Tensor) -> str:
    top: Any = probabilities.topk(5)
    named = zip(tokenizer.convert_ids_to_tokens(top.indices.tolist()), top.values.tolist(), strict=True)
    return ", ".join(f"{token} ({value:.1%})" for token, value in named)


def _predict_span(example: Example) -> list[str]:
    """Choose the best start and end, end not before start, within the second text."""
    lines: list[str] = []
    for i, row in enumerate(example.encoding.encodings):
        context = [j for j, part in enumerate(row.sequence_ids) if part == 1]
        if not context:
            raise InputError("question-answering takes the question as --text and the passage as --text-pair")
        start, end = example.output.start_logits[i, context], example.output.end_logits[i, context]
        scores = (start[:, None] + end[None, :]).triu()
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).tril(-1), float("-inf"))
        first, last = divmod(int(scores.argmax()), len(context))
        ids = example.encoding.input_ids[i, context[first] : context[last] + 1].tolist()
        lines.append(f"{_quote(example.texts[i])}: {example.tokenizer.decode(ids)}")
    return lines


def _quote(text: str, width: int = 60) -> str:
    return repr(text if len(text) <= width else f"{text[: width - 3]}...")


_TASKS: dict[str, tuple[type[PreTrainedModel[Any]], Predictor, dict[str, Any]]] = {
    "features": (BertModel, _predict_features, {}),
    "sequence-classification": (BertForSequenceClassification, _predict_rows, {}),
    "token-classification": (BertForTokenClassification, _predict_tokens, {}),
    "masked-lm": (BertForMaskedLM, _predict_masks, {}),
    "causal-lm": (BertLMHeadModel, _predict_next_token, {"is_decoder": True}),
    "next-sentence": (BertForNextSentencePrediction, _predict_next_sentence, {}),
    "question-answering": (BertForQuestionAnswering, _predict_span, {}),
    "multiple-choice": (BertForMultipleChoice, _predict_choice, {}),
}
