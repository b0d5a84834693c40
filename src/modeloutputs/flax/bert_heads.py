"""BERT's heads, for the tasks that the paper or its users train it for. Arguments: see `modeloutputs.flax.calls`."""

from typing import Any, ClassVar, cast

from flax import linen as nn
from jax import Array

from ..architectures import BertConfig
from ..architectures.selection import LayerSelection
from ..errors import InputError
from ..output import ModelOutput
from .bert import FlaxBertModule, FlaxBertPreTrainedModel, bert_layout
from .calls import Arrays, as_requested, state_at
from .dropout import Dropout
from .layers import activation
from .libraries import initializers, jnp
from .outputs import (
    FlaxCausalLMOutputWithCrossAttentions,
    FlaxMaskedLMOutput,
    FlaxMultipleChoiceModelOutput,
    FlaxNextSentencePredictorOutput,
    FlaxQuestionAnsweringModelOutput,
    FlaxSequenceClassifierOutput,
    FlaxTokenClassifierOutput,
)
from .stack import StackResult

__all__ = [
    "FlaxBertForCausalLM",
    "FlaxBertForCausalLMModule",
    "FlaxBertForMaskedLM",
    "FlaxBertForMaskedLMModule",
    "FlaxBertForMultipleChoice",
    "FlaxBertForMultipleChoiceModule",
    "FlaxBertForNextSentencePrediction",
    "FlaxBertForNextSentencePredictionModule",
    "FlaxBertForQuestionAnswering",
    "FlaxBertForQuestionAnsweringModule",
    "FlaxBertForSequenceClassification",
    "FlaxBertForSequenceClassificationModule",
    "FlaxBertForTokenClassification",
    "FlaxBertForTokenClassificationModule",
]


# -- modules ----------------------------------------------------------------------------------------------------------


class FlaxBertPredictionHeadTransform(nn.Module):
    """Linear layer, activation and normalisation before the vocabulary scores."""

    config: BertConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Make the linear layer and the normalisation."""
        layout = bert_layout(self.config, self.dtype)
        self.dense, self.LayerNorm = layout.linear(self.config.hidden_size), layout.norm()

    def __call__(self, hidden: Array) -> Array:
        """Map (..., hidden) to (..., hidden)."""
        dense: Any = self.dense
        norm: Any = self.LayerNorm
        return norm(activation(self.config.hidden_act)(dense(hidden)))


class FlaxBertLMPredictionHead(nn.Module):
    """Scores for each entry of the vocabulary."""

    config: BertConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Make the transformation and the scores' bias; tied, their matrix is the embeddings'."""
        config = self.config
        self.transform = FlaxBertPredictionHeadTransform(config, self.dtype)
        if not config.tie_word_embeddings:
            self.decoder = bert_layout(config, self.dtype).linear(config.vocab_size, bias=False)
        self.bias: Any = cast("Any", self).param("bias", initializers.zeros, (config.vocab_size,))

    def __call__(self, hidden: Array, embeddings: nn.Embed) -> Array:
        """Map (B, S, hidden) to (B, S, vocab)."""
        hidden = self.transform(hidden)
        if self.config.tie_word_embeddings:
            return embeddings.attend(hidden) + jnp.asarray(self.bias, self.dtype)
        decoder: Any = self.decoder
        return decoder(hidden) + jnp.asarray(self.bias, self.dtype)


class FlaxBertOnlyMLMHead(nn.Module):
    """The predictions of masked or next tokens."""

    config: BertConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Make the predictions."""
        self.predictions = FlaxBertLMPredictionHead(self.config, self.dtype)

    def __call__(self, hidden: Array, embeddings: nn.Embed) -> Array:
        """Map (B, S, hidden) to (B, S, vocab)."""
        return self.predictions(hidden, embeddings)


class FlaxBertOnlyNSPHead(nn.Module):
    """The scores of whether the second text follows the first."""

    config: BertConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Make the scores."""
        self.seq_relationship = bert_layout(self.config, self.dtype).linear(2)

    def __call__(self, pooled: Array) -> Array:
        """Map (B, hidden) to (B, 2)."""
        scores: Any = self.seq_relationship
        return scores(pooled)


class _BertHeadModule(nn.Module):
    """A BERT with a head: a subclass adds its modules in `add_head`, and gives the fields of its output."""

    config: BertConfig
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False

    pooling: ClassVar[bool] = False
    output_class: ClassVar[type[ModelOutput]]

    def setup(self) -> None:
        """Make the modules."""
        self.bert = FlaxBertModule(self.config, self.dtype, self.pooling, self.gradient_checkpointing)
        self.add_head()

    def add_head(self) -> None:
        """Make the head's modules."""

    def fields(self, result: StackResult, pooled: Array | None, deterministic: bool) -> dict[str, Array]:
        """Return the head's fields of the output."""
        raise NotImplementedError

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        token_type_ids: Array | None = None,
        position_ids: Array | None = None,
        head_mask: Array | None = None,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
        init_cache: bool = False,
        deterministic: bool = True,
        output_attentions: LayerSelection = False,
        output_hidden_states: LayerSelection = False,
        return_dict: bool = True,
    ) -> Any:
        """Return the output of the head's class."""
        result = self.bert.run(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            head_mask=head_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            init_cache=init_cache,
            deterministic=deterministic,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        fields = self.fields(result, self.bert.pool(result, attention_mask), deterministic)
        return as_requested(result.as_output(self.output_class, **fields), return_dict)


class FlaxBertForMaskedLMModule(_BertHeadModule):
    """See `FlaxBertForMaskedLM`."""

    output_class = FlaxMaskedLMOutput

    def add_head(self) -> None:
        """Make the predictions."""
        self.cls = FlaxBertOnlyMLMHead(self.config, self.dtype)

    def fields(self, result: StackResult, pooled: Array | None, deterministic: bool) -> dict[str, Array]:
        """Return the scores (B, S, vocab)."""
        return {"logits": self.cls(result.last_hidden_state, self.bert.embeddings.word_embeddings)}


class FlaxBertForCausalLMModule(FlaxBertForMaskedLMModule):
    """See `FlaxBertForCausalLM`."""

    output_class = FlaxCausalLMOutputWithCrossAttentions

    def next_scores(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        place: Any = None,
        **encoder: Any,
    ) -> Array:
        """Return the scores (B, vocab) of the token after a place, the last one for None."""
        result = self.bert.run(input_ids, attention_mask, None, position_ids, **encoder)
        read = result._replace(last_hidden_state=state_at(result.last_hidden_state, place))
        return self.fields(read, None, True)["logits"][:, 0]


class FlaxBertForNextSentencePredictionModule(_BertHeadModule):
    """See `FlaxBertForNextSentencePrediction`."""

    pooling = True
    output_class = FlaxNextSentencePredictorOutput

    def add_head(self) -> None:
        """Make the scores."""
        self.cls = FlaxBertOnlyNSPHead(self.config, self.dtype)

    def fields(self, result: StackResult, pooled: Array | None, deterministic: bool) -> dict[str, Array]:
        """Return the scores (B, 2)."""
        assert pooled is not None  # since `pooling`
        return {"logits": self.cls(pooled)}


class _BertClassifierModule(_BertHeadModule):
    """A BERT with dropout and a linear layer on top."""

    def add_head(self) -> None:
        """Make the classifier."""
        config = self.config
        rate = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = Dropout(rate)
        self.classifier = bert_layout(config, self.dtype).linear(self.count)

    @property
    def count(self) -> int:
        """Number of scores."""
        return self.config.num_labels

    def scores(self, states: Array | None, deterministic: bool) -> Array:
        """Map (..., hidden) to (..., scores)."""
        assert states is not None  # a subclass that reads the pooled state has `pooling`
        classifier: Any = self.classifier
        return classifier(self.dropout(states, deterministic=deterministic))


class FlaxBertForSequenceClassificationModule(_BertClassifierModule):
    """See `FlaxBertForSequenceClassification`."""

    pooling = True
    output_class = FlaxSequenceClassifierOutput

    def fields(self, result: StackResult, pooled: Array | None, deterministic: bool) -> dict[str, Array]:
        """Return the scores (B, labels)."""
        return {"logits": self.scores(pooled, deterministic)}


class FlaxBertForTokenClassificationModule(_BertClassifierModule):
    """See `FlaxBertForTokenClassification`."""

    output_class = FlaxTokenClassifierOutput

    def fields(self, result: StackResult, pooled: Array | None, deterministic: bool) -> dict[str, Array]:
        """Return the scores (B, S, labels)."""
        return {"logits": self.scores(result.last_hidden_state, deterministic)}


class FlaxBertForMultipleChoiceModule(_BertClassifierModule):
    """See `FlaxBertForMultipleChoice`."""

    pooling = True
    output_class = FlaxMultipleChoiceModelOutput

    @property
    def count(self) -> int:
        """One score for each choice."""
        return 1

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        token_type_ids: Array | None = None,
        position_ids: Array | None = None,
        *others: Any,
        return_dict: bool = True,
        **options: Any,
    ) -> Any:
        """Return the output for inputs (B, C, S); states and attentions have B x C rows."""
        batch, choices = input_ids.shape[:2]
        given = (input_ids, attention_mask, token_type_ids, position_ids)
        flat = [None if array is None else array.reshape(-1, *array.shape[2:]) for array in given]
        output: Any = cast("Any", super()).__call__(*flat, *others, **options)
        output.logits = output.logits.reshape(batch, choices)
        return as_requested(output, return_dict)

    def fields(self, result: StackResult, pooled: Array | None, deterministic: bool) -> dict[str, Array]:
        """Return the scores (B x C, 1), which the call brings into shape."""
        return {"logits": self.scores(pooled, deterministic)}


class FlaxBertForQuestionAnsweringModule(_BertHeadModule):
    """See `FlaxBertForQuestionAnswering`."""

    output_class = FlaxQuestionAnsweringModelOutput

    def add_head(self) -> None:
        """Make the scores of starts and ends."""
        self.qa_outputs = bert_layout(self.config, self.dtype).linear(2)

    def fields(self, result: StackResult, pooled: Array | None, deterministic: bool) -> dict[str, Array]:
        """Return the scores of starts and of ends, (B, S) each."""
        qa_outputs: Any = self.qa_outputs
        scores = qa_outputs(result.last_hidden_state)
        return {"start_logits": scores[..., 0], "end_logits": scores[..., 1]}


# -- models -----------------------------------------------------------------------------------------------------------


class FlaxBertForMaskedLM(FlaxBertPreTrainedModel):
    """Predicts masked tokens (section 3.1, "Masked LM"); returns FlaxMaskedLMOutput."""

    module_class = FlaxBertForMaskedLMModule


class FlaxBertForCausalLM(FlaxBertPreTrainedModel):
    """Predicts each next token; returns FlaxCausalLMOutputWithCrossAttentions.

    Raises:
        InputError: `config.is_decoder` is off: an encoder would see the token that it is to predict.
    """

    module_class = FlaxBertForCausalLMModule

    def __init__(self, config: BertConfig, *args: Any, **options: Any) -> None:
        if not getattr(config, "is_decoder", True):
            raise InputError(
                "FlaxBertForCausalLM needs config.is_decoder=True: an encoder sees the token it is to predict"
            )
        super().__init__(config, *args, **options)


class FlaxBertForNextSentencePrediction(FlaxBertPreTrainedModel):
    """Tells whether the second text follows the first (section 3.1); returns FlaxNextSentencePredictorOutput."""

    module_class = FlaxBertForNextSentencePredictionModule


class FlaxBertForSequenceClassification(FlaxBertPreTrainedModel):
    """Gives each row a class, several classes or a number; returns FlaxSequenceClassifierOutput."""

    module_class = FlaxBertForSequenceClassificationModule


class FlaxBertForTokenClassification(FlaxBertPreTrainedModel):
    """Gives each token a class; returns FlaxTokenClassifierOutput."""

    module_class = FlaxBertForTokenClassificationModule


class FlaxBertForMultipleChoice(FlaxBertPreTrainedModel):
    """Chooses among alternatives, inputs (B, C, S); returns FlaxMultipleChoiceModelOutput."""

    module_class = FlaxBertForMultipleChoiceModule

    def _dummy_inputs(self, input_shape: tuple[int, ...]) -> dict[str, Any]:
        return {"input_ids": jnp.zeros((1, *input_shape[-2:]), jnp.int32)}

    def _check(self, inputs: Arrays, room: int | None = None) -> None:
        shape = tuple(inputs["input_ids"].shape)
        if len(shape) != 3:
            raise InputError(f"the input of a multiple-choice model has shape {shape}; expected (batch, choices, seq)")
        super()._check({
            name: array.reshape(-1, *array.shape[2:]) if array.ndim > 2 else array for name, array in inputs.items()
        })  # fmt: skip


class FlaxBertForQuestionAnswering(FlaxBertPreTrainedModel):
    """Finds where an answer starts and ends (section 4.2); returns FlaxQuestionAnsweringModelOutput."""

    module_class = FlaxBertForQuestionAnsweringModule
