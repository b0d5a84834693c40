"""What `modeloutputs run` predicts for each text, in words, from the outputs of any framework."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..architectures import BertConfig
from ..arrays.backends import get_backend
from ..errors import InputError
from ..tokenizers import BatchEncoding, PreTrainedTokenizer

__all__ = [
    "Example",
    "Predictor",
    "predict_choice",
    "predict_features",
    "predict_masks",
    "predict_next_sentence",
    "predict_next_token",
    "predict_rows",
    "predict_span",
    "predict_tokens",
    "quote",
]


@dataclass(frozen=True)
class Example:
    """The inputs that a prediction is described by, of one batch; the encoding's are NumPy's arrays."""

    output: Any
    encoding: BatchEncoding
    tokenizer: PreTrainedTokenizer
    config: BertConfig
    texts: Sequence[str]

    def values(self, field: str) -> Any:
        """Return a field of the output as a NumPy array of float32."""
        array = self.output[field]
        return get_backend(array).numpy(array).astype(np.float32)


Predictor = Callable[[Example], list[str]]


def _name(config: BertConfig, index: int) -> str:
    return cast("dict[int, str]", config.id2label)[index]


def predict_features(example: Example) -> list[str]:
    """Return the length of each text's pooled vector."""
    norms = np.linalg.norm(example.values("pooler_output"), axis=-1)
    return [f"{quote(text)}: pooled vector of norm {norm:.3f}" for text, norm in zip(example.texts, norms, strict=True)]


def predict_rows(example: Example) -> list[str]:
    """Return the likeliest class of each text, every class above one half where there may be many, or the number."""
    logits = example.values("logits")
    if logits.shape[1] == 1:
        return [f"{quote(text)}: {value:.4f}" for text, value in zip(example.texts, logits[:, 0].tolist(), strict=True)]
    several = example.config.problem_type == "multi_label_classification"
    probabilities = _sigmoid(logits) if several else _softmax(logits)
    lines: list[str] = []
    for text, row in zip(example.texts, probabilities, strict=True):
        chosen = [i for i in range(len(row)) if row[i] > 0.5] if several else [int(row.argmax())]
        names = ", ".join(f"{_name(example.config, i)} ({row[i]:.1%})" for i in chosen) or "none"
        lines.append(f"{quote(text)}: {names}")
    return lines


def predict_next_sentence(example: Example) -> list[str]:
    """Return how likely the second text of each pair follows."""
    follows = _softmax(example.values("logits"))[:, 0].tolist()
    return [f"{quote(text)}: the second follows with {p:.1%}" for text, p in zip(example.texts, follows, strict=True)]


def predict_choice(example: Example) -> list[str]:
    """Return the likeliest choice of the one text."""
    row = _softmax(example.values("logits"))[0]
    return [f"{quote(example.texts[0])}: choice {int(row.argmax())} ({float(row.max()):.1%})"]


def predict_tokens(example: Example) -> list[str]:
    """Return the likeliest class of each token."""
    best = example.values("logits").argmax(-1)
    lines: list[str] = []
    for i, row in enumerate(example.encoding.encodings):
        real = [j for j, special in enumerate(row.special_tokens_mask) if not special]
        lines.append(" ".join(f"{row.tokens[j]}/{_name(example.config, int(best[i, j]))}" for j in real))
    return lines


def predict_masks(example: Example) -> list[str]:
    """Return the likeliest tokens at each mask."""
    if example.tokenizer.mask_token_id is None:
        raise InputError(
            "masked-lm predicts the tokens at masks, and the tokenizer of this checkpoint has no mask token"
        )
    masked = example.encoding.input_ids == example.tokenizer.mask_token_id
    logits = example.values("logits")
    lines: list[str] = []
    for i, text in enumerate(example.texts):
        for j in np.flatnonzero(masked[i]):
            lines.append(f"{quote(text)}: {_top_tokens(example.tokenizer, _softmax(logits[i, j]))}")
        if not masked[i].any():
            lines.append(f"{quote(text)}: no {example.tokenizer.mask_token} in it to predict")
    return lines


def predict_next_token(example: Example) -> list[str]:
    """Return the likeliest tokens after each text."""
    last = example.encoding.attention_mask.sum(-1) - 1
    probabilities = _softmax(example.values("logits")[np.arange(len(last)), last])
    return [
        f"{quote(text)}: {_top_tokens(example.tokenizer, row)}"
        for text, row in zip(example.texts, probabilities, strict=True)
    ]


def _top_tokens(tokenizer: PreTrainedTokenizer, probabilities: Any) -> str:
    ids: list[int] = np.argsort(-probabilities, kind="stable")[:5].tolist()
    tokens = tokenizer.convert_ids_to_tokens(ids)  # None for some: a model may have more ids than tokens
    named = [f"id {i}" if token is None else token for i, token in zip(ids, tokens, strict=True)]
    return ", ".join(f"{token} ({value:.1%})" for token, value in zip(named, probabilities[ids], strict=True))


def predict_span(example: Example) -> list[str]:
    """Choose the best start and end, end not before start, within the second text."""
    starts, ends = example.values("start_logits"), example.values("end_logits")
    lines: list[str] = []
    for i, row in enumerate(example.encoding.encodings):
        context = [j for j, part in enumerate(row.sequence_ids) if part == 1]
        if not context:
            raise InputError("question-answering takes the question as --text and the passage as --text-pair")
        scores = starts[i, context][:, None] + ends[i, context]
        scores[np.tril_indices(len(context), -1)] = -np.inf
        first, last = divmod(int(scores.argmax()), len(context))
        ids = example.encoding.input_ids[i, context[first] : context[last] + 1].tolist()
        lines.append(f"{quote(example.texts[i])}: {example.tokenizer.decode(ids)}")
    return lines


def _softmax(logits: Any) -> Any:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _sigmoid(logits: Any) -> Any:
    return 0.5 + 0.5 * np.tanh(0.5 * logits)  # which does not overflow


def quote(text: str, width: int = 60) -> str:
    """Return a text in quotes, cut off at a width."""
    return repr(text if len(text) <= width else f"{text[: width - 3]}...")
