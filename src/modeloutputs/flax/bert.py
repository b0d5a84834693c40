"""BERT (Devlin et al., 2019): a bidirectional encoder, or a decoder with cross-attention and cache."""

from typing import Any, cast

from flax import linen as nn
from jax import Array

from ..architectures import BertConfig
from ..architectures.bert import LAYER_PATHS, WEIGHT_NAMES, layer_settings
from ..architectures.layers import LayerPaths
from ..architectures.selection import LayerSelection
from .attention import Attention, AttentionContext, CallFlags, CrossAttention
from .calls import Arrays, StackCall, as_requested, first_rows
from .dropout import Dropout
from .layers import Layout, activation
from .libraries import jnp
from .outputs import FlaxBaseModelOutputWithPooling
from .pretrained import FlaxPreTrainedModel
from .stack import LayerResult, Stack, StackResult, has_encoder

__all__ = ["FlaxBertModel", "FlaxBertModule", "FlaxBertPreTrainedModel", "bert_layout"]


def bert_layout(config: BertConfig, dtype: Any) -> Layout:
    """Return how BERT's modules are made."""
    return Layout(layer_settings(config), dtype, config.initializer_range)


# -- modules ----------------------------------------------------------------------------------------------------------


class FlaxBertEmbeddings(nn.Module):
    """Sum of token, position and token type embeddings, normalised (section 3, "Input/Output Representations")."""

    config: BertConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Make the tables."""
        config, layout = self.config, bert_layout(self.config, self.dtype)
        self.word_embeddings = layout.embedding(config.vocab_size)
        self.position_embeddings = layout.embedding(config.max_position_embeddings)
        self.token_type_embeddings = layout.embedding(config.type_vocab_size)
        self.LayerNorm = layout.norm()
        self.dropout = Dropout(config.hidden_dropout_prob)

    def __call__(self, input_ids: Array, token_type_ids: Array, position_ids: Array, deterministic: bool) -> Array:
        """Embed (B, S) tokens into (B, S, hidden)."""
        words, types = self.word_embeddings(input_ids), self.token_type_embeddings(token_type_ids)
        hidden = self.LayerNorm(words + types + self.position_embeddings(position_ids))
        return cast("Any", self.dropout)(hidden, deterministic=deterministic)


class FlaxBertSelfOutput(nn.Module):
    """The end of a block: a linear layer, dropout, and the normalised sum with the block's input."""

    layout: Layout

    def setup(self) -> None:
        """Make the linear layer and the normalisation."""
        settings = self.layout.settings
        self.dense, self.LayerNorm = self.layout.linear(settings.hidden_size), self.layout.norm()
        self.dropout = Dropout(settings.dropout)

    def __call__(self, states: Array, residual: Array, deterministic: bool = True) -> Array:
        """Map (B, S, inputs) and the block's input (B, S, hidden) to (B, S, hidden)."""
        update: Any = self.dense(states)  # pyright: ignore[reportCallIssue]
        norm: Any = self.LayerNorm
        return norm(residual + self.dropout(update, deterministic=deterministic))


class FlaxBertAttention(nn.Module):
    """Attention, to the sequence itself or to an encoder, added to its input."""

    layout: Layout
    paths: LayerPaths
    index: int
    crosses: bool = False

    def setup(self) -> None:
        """Make the block."""
        kind, paths = (
            (CrossAttention, self.paths.cross_attention) if self.crosses else (Attention, self.paths.attention)
        )
        assert paths is not None  # BERT has both
        self.self = kind(self.layout, paths, self.index, projects=False)
        self.output = FlaxBertSelfOutput(self.layout)

    def __call__(self, hidden: Array, context: AttentionContext, flags: CallFlags) -> tuple[Array, Array]:
        """Map (B, S, hidden) to (B, S, hidden), and return the attention weights."""
        attended, weights = self.self(hidden, context, flags)
        return self.output(attended, hidden, flags.deterministic), weights


class FlaxBertIntermediate(nn.Module):
    """The first half of the feed-forward block: a linear layer and the activation."""

    layout: Layout

    def setup(self) -> None:
        """Make the linear layer."""
        self.dense = self.layout.linear(self.layout.settings.intermediate_size)
        self.activation = activation(self.layout.settings.activation)

    def __call__(self, hidden: Array) -> Array:
        """Map (..., hidden) to (..., intermediate)."""
        inner: Any = self.dense(hidden)  # pyright: ignore[reportCallIssue]
        return self.activation(inner)


class FlaxBertLayer(nn.Module):
    """Self-attention, cross-attention where configured, and feed-forward."""

    layout: Layout
    paths: LayerPaths
    index: int

    def setup(self) -> None:
        """Make the blocks."""
        self.attention = FlaxBertAttention(self.layout, self.paths, self.index)
        if self.layout.settings.cross_attention:
            self.crossattention = FlaxBertAttention(self.layout, self.paths, self.index, crosses=True)
        self.intermediate = FlaxBertIntermediate(self.layout)
        self.output = FlaxBertSelfOutput(self.layout)

    def __call__(self, hidden: Array, context: AttentionContext, flags: CallFlags) -> LayerResult:
        """Map (B, S, hidden) to the layer's result."""
        hidden, weights = self.attention(hidden, context, flags)
        cross_weights = None
        if self.layout.settings.cross_attention and has_encoder(self.crossattention.self, context):
            hidden, cross_weights = self.crossattention(hidden, context, flags)
        hidden = self.output(self.intermediate(hidden), hidden, flags.deterministic)
        return LayerResult(hidden, weights, cross_weights)


class FlaxBertEncoder(nn.Module):
    """The layers."""

    config: BertConfig
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False

    def setup(self) -> None:
        """Make the layers."""
        self.layer = Stack(
            bert_layout(self.config, self.dtype),
            LAYER_PATHS,
            self.config.num_hidden_layers,
            FlaxBertLayer,
            self.gradient_checkpointing,
        )

    def __call__(self, hidden: Array, call: StackCall) -> StackResult:
        """Map embeddings (B, S, hidden) to the stack's result."""
        return self.layer(hidden, call.context, call.flags, call.kept)


class FlaxBertPooler(nn.Module):
    """The first token's state, through a linear layer and tanh."""

    config: BertConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Make the linear layer."""
        self.dense = bert_layout(self.config, self.dtype).linear(self.config.hidden_size)

    def __call__(self, hidden: Array, mask: Array | None = None) -> Array:
        """Pool (B, S, hidden) at each row's first token that is no padding, or at index 0; return (B, hidden)."""
        pooled: Any = self.dense(first_rows(hidden, mask))  # pyright: ignore[reportCallIssue]
        return jnp.tanh(pooled)


class FlaxBertModule(nn.Module):
    """BERT without a head, as a linen module; see `FlaxBertModel`."""

    config: BertConfig
    dtype: Any = jnp.float32
    add_pooling_layer: bool = True
    gradient_checkpointing: bool = False

    def setup(self) -> None:
        """Make the modules."""
        self.embeddings = FlaxBertEmbeddings(self.config, self.dtype)
        self.encoder = FlaxBertEncoder(self.config, self.dtype, self.gradient_checkpointing)
        if self.add_pooling_layer:
            self.pooler = FlaxBertPooler(self.config, self.dtype)

    def run(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        token_type_ids: Array | None = None,
        position_ids: Array | None = None,
        **options: Any,
    ) -> StackResult:
        """Return the states of all positions; options are those of `StackCall.of`."""
        call = StackCall.of(
            self, input_ids, attention_mask, position_ids, layers=self.config.num_hidden_layers, **options
        )
        types = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        hidden = self.embeddings(input_ids, types, call.positions, call.flags.deterministic)
        return self.encoder(hidden, call)

    def pool(self, result: StackResult, attention_mask: Array | None) -> Array | None:
        """Return the first tokens' states pooled, (B, hidden); None without a pooling layer."""
        return self.pooler(result.last_hidden_state, attention_mask) if self.add_pooling_layer else None

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
        """Return the states of all positions, and the first token's pooled."""
        result = self.run(
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
        pooled = self.pool(result, attention_mask)
        return as_requested(result.as_output(FlaxBaseModelOutputWithPooling, pooler_output=pooled), return_dict)


# -- the model --------------------------------------------------------------------------------------------------------


class FlaxBertPreTrainedModel(FlaxPreTrainedModel[BertConfig]):
    """Base of all BERT models."""

    config_class = BertConfig
    weight_names = WEIGHT_NAMES
    base_model_prefix = "bert"

    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        params: Any = None,
        dropout_rng: Any = None,
        train: bool = False,
        output_attentions: Any = None,
        output_hidden_states: Any = None,
        return_dict: bool | None = None,
        past_key_values: Any = None,
    ) -> Any:
        """Return the model's output; see `modeloutputs.flax.calls`."""
        arrays: Arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "head_mask": head_mask,
            "encoder_hidden_states": encoder_hidden_states,
            "encoder_attention_mask": encoder_attention_mask,
        }
        flags = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self._call(arrays, params, dropout_rng, train, flags, return_dict, past_key_values)


class FlaxBertModel(FlaxBertPreTrainedModel):
    """BERT without a head; returns FlaxBaseModelOutputWithPooling."""

    module_class = FlaxBertModule
