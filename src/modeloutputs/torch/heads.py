"""Heads: one `forward` for each kind of head. A head class adds its modules, a task and the scores.

Arguments are explained in `modeloutputs.torch.arguments`.
"""

from typing import Any, ClassVar, Generic, TypeVar, Unpack, cast

from torch import Tensor, nn

from ..architectures import Config
from ..architectures.tasks import Task
from ..errors import InputError
from ..output import ModelOutput
from .arguments import HeadInputs, LossOptions, Seq2SeqHeadInputs, take_loss_options
from .losses import causal_lm_loss, cross_entropy, question_answering_loss, sequence_classification_loss
from .plain import apply_linear
from .pretrained import PreTrainedModel, call_inner

__all__ = [
    "CausalLMHead",
    "Head",
    "LabelHead",
    "LanguageModelHead",
    "Seq2SeqSpanHead",
    "SpanHead",
    "cache_with_labels",
    "kept_positions",
]

ConfigType = TypeVar("ConfigType", bound=Config)
OutputType = TypeVar("OutputType", bound=ModelOutput)


class Head(PreTrainedModel[ConfigType], Generic[ConfigType, OutputType]):
    """Base of models with something on top of a base model, which is the attribute `weight_names.prefix`."""

    task: ClassVar[Task]
    output_class: type[OutputType]
    has_token_types: ClassVar[bool] = True
    """Whether the model tells a first text from a second by `token_type_ids`."""

    @property
    def base_model(self) -> Any:
        """The model without the head."""
        return getattr(self, self.weight_names.prefix)

    def _base_outputs(self, *inputs: Any, **options: Any) -> Any:
        return call_inner(self.base_model, *inputs, **options)

    def _scores(self, outputs: Any, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        """Return the head's scores for the base model's outputs, which it computed for these inputs."""
        raise NotImplementedError  # each head says

    def _loss(self, logits: Tensor, labels: Tensor | None, options: LossOptions) -> Tensor | None:
        """Return the loss of the head's task."""
        if labels is None:
            return None
        given: dict[str, Any] = options._asdict()
        if self.task.loss == "problem type":
            return sequence_classification_loss(logits, labels, self.config.problem_type, **given)
        return (causal_lm_loss if self.task.loss == "next token" else cross_entropy)(logits, labels, **given)

    def _with_token_types(self, token_type_ids: Tensor | None, inputs: object) -> dict[str, Any]:
        """Return the base model's further inputs; token types are dropped where it has no use for them."""
        given = cast("dict[str, Any]", inputs)
        if token_type_ids is None or not self.has_token_types:
            return given
        return {"token_type_ids": token_type_ids, **given}

    def _head_output(self, outputs: ModelOutput, return_dict: bool | None, **fields: Any) -> OutputType:
        """Return the head's own fields with those that it shares with the base model's output."""
        cls = self.output_class
        shared = {name: value for name, value in outputs.items() if name in cls.__output_fields__}
        return self._as_requested(cls(**shared, **fields), return_dict)


class LabelHead(Head[ConfigType, OutputType]):
    """Base of heads that score rows or tokens, and take `labels`."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[HeadInputs],
    ) -> OutputType:
        """Return the scores and, with `labels`, the loss of the head's task."""
        options = take_loss_options(inputs, labels=labels)
        outputs = self._base_outputs(input_ids, attention_mask, **self._with_token_types(token_type_ids, inputs))
        logits = self._scores(outputs, input_ids, attention_mask)
        loss = self._loss(logits, labels, options)
        return self._head_output(outputs, return_dict, loss=loss, logits=logits)


class SpanHead(Head[ConfigType, OutputType]):
    """Base of heads that find where an answer starts and ends."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[HeadInputs],
    ) -> OutputType:
        """Return start and end logits (B, S) and, with both positions (B,), the loss.

        Raises:
            InputError: one of the positions was passed without the other.
        """
        options = take_loss_options(inputs, start_positions=start_positions, end_positions=end_positions)
        check_span(start_positions, end_positions)
        outputs = self._base_outputs(input_ids, attention_mask, **self._with_token_types(token_type_ids, inputs))
        fields = span_fields(self._scores(outputs), start_positions, end_positions, options)
        return self._head_output(outputs, return_dict, **fields)


class Seq2SeqSpanHead(Head[ConfigType, OutputType]):
    """Base of heads of encoder-decoders that find where an answer starts and ends."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[Seq2SeqHeadInputs],
    ) -> OutputType:
        """Return start and end logits (B, S) and, with both positions (B,), the loss; see `SpanHead`."""
        options = take_loss_options(inputs, start_positions=start_positions, end_positions=end_positions)
        check_span(start_positions, end_positions)
        outputs = self._base_outputs(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            use_cache=cache_with_labels(use_cache, start_positions),
            **inputs,
        )
        fields = span_fields(self._scores(outputs), start_positions, end_positions, options)
        return self._head_output(outputs, return_dict, **fields)


class LanguageModelHead(Head[ConfigType, OutputType]):
    """Base of language models that score each entry of the vocabulary with `lm_head`.

    The weight of `lm_head` is the table of embeddings where the configuration ties them (Press & Wolf, 2017).
    """

    lm_head: nn.Module
    output_embeddings = "lm_head"
    keeps_cache: ClassVar[bool] = True
    """Whether the model takes and returns `past_key_values`."""

    def _add_lm_head(self, width: int, vocab_size: int) -> None:
        tied = self.config.tie_word_embeddings
        layer = nn.Linear(width, vocab_size, bias=False, device="meta" if tied else None)
        if tied:
            layer.weight = self.get_input_embeddings().weight
        self.lm_head = layer

    def _logits(self, hidden: Tensor) -> Tensor:
        """Map (B, S, hidden) to (B, S, vocab)."""
        return apply_linear(self.lm_head, hidden)


class CausalLMHead(LanguageModelHead[ConfigType, OutputType]):
    """Base of language models that predict each next token of their input."""

    loss_type = "ForCausalLM"

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
        **inputs: Unpack[HeadInputs],
    ) -> OutputType:
        """Return logits (B, S, vocab) and, with `labels` (B, S) aligned with the tokens, the loss of each next one.

        With labels, `use_cache` is off unless passed: training has no use for a cache.
        """
        options = take_loss_options(inputs, labels=labels)
        given = self._with_token_types(token_type_ids, inputs)
        if self.keeps_cache:
            given["use_cache"] = cache_with_labels(given.get("use_cache"), labels)
        outputs = self._base_outputs(input_ids, attention_mask, **given)
        logits = self._logits(kept_positions(outputs.last_hidden_state, logits_to_keep, labels))
        loss = self._loss(logits, labels, options)
        return self._head_output(outputs, return_dict, loss=loss, logits=logits)


def cache_with_labels(use_cache: bool | None, labels: Tensor | None) -> bool | None:
    """Return whether to return a cache: with labels only if it was asked for, since training has no use for one."""
    return False if use_cache is None and labels is not None else use_cache


def check_span(start_positions: Tensor | None, end_positions: Tensor | None) -> None:
    """Refuse one of the positions without the other.

    Raises:
        InputError: only one was passed.
    """
    if (start_positions is None) != (end_positions is None):
        raise InputError("only one of start_positions and end_positions was passed; the loss needs both")


def span_fields(
    scores: Tensor,
    start_positions: Tensor | None,
    end_positions: Tensor | None,
    options: LossOptions,
) -> dict[str, Tensor | None]:
    """Return loss, start and end logits for scores (B, S, 2)."""
    start, end = scores.unbind(-1)
    loss = None
    if start_positions is not None and end_positions is not None:
        loss = question_answering_loss(start, end, start_positions, end_positions, **options._asdict())
    return {"loss": loss, "start_logits": start, "end_logits": end}


def kept_positions(hidden: Tensor, logits_to_keep: int, labels: Tensor | None) -> Tensor:
    """Return the last positions' states; all of them for 0.

    Raises:
        InputError: not a number or a negative one, or labels, whose loss needs all positions.
    """
    if isinstance(logits_to_keep, bool) or not isinstance(logits_to_keep, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"logits_to_keep is {logits_to_keep!r}; expected how many of the last positions, 0 for all")
    if not logits_to_keep:
        return hidden
    if logits_to_keep < 0 or labels is not None:
        what = f"logits_to_keep is {logits_to_keep}"
        raise InputError(
            f"{what} with labels, whose loss needs all positions" if labels is not None else f"{what}; expected >= 0"
        )
    return hidden[:, -logits_to_keep:]
