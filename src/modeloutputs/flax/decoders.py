"""What decoders share: modules around one stack, and the models that hold them, with and without a cache."""

from typing import Any, ClassVar

from flax import linen as nn
from jax import Array

from ..architectures.layers import LayerPaths
from ..architectures.selection import LayerSelection
from ..output import ModelOutput
from .attention import Rotary
from .calls import Arrays, StackCall, as_requested, last_rows, state_at
from .layers import Layout
from .libraries import jnp
from .pretrained import ConfigType, FlaxPreTrainedModel
from .stack import Stack, StackResult

__all__ = ["CausalLMModule", "DecoderModule", "FlaxDecoderModel", "LastTokenModule"]


class DecoderModule(nn.Module):
    """A decoder without a head. A subclass says how its modules are made, and how tokens are embedded."""

    config: Any
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False

    output_class: ClassVar[type[ModelOutput]]
    paths: ClassVar[LayerPaths]
    stack_name: ClassVar[str]
    norm_name: ClassVar[str | None] = None

    def setup(self) -> None:
        """Make the modules."""
        layout, count = self.layout(), self.config.num_hidden_layers
        setattr(self, self.stack_name, Stack(layout, self.paths, count, remat=self.gradient_checkpointing))
        if self.norm_name is not None:
            setattr(self, self.norm_name, layout.norm())
        self.add_embeddings(layout)

    def layout(self) -> Layout:
        """Return how the modules are made."""
        raise NotImplementedError

    def add_embeddings(self, layout: Layout) -> None:
        """Make the tables."""
        raise NotImplementedError

    def embed(self, input_ids: Array, positions: Array, deterministic: bool) -> Array:
        """Embed tokens (B, S) at positions (B, S) into (B, S, hidden)."""
        raise NotImplementedError

    def rotary(self, positions: Array, dtype: Any) -> Rotary | None:
        """Return the rotary positions, or None."""
        return None

    @property
    def token_table(self) -> nn.Embed:
        """The table of token embeddings."""
        raise NotImplementedError

    def run(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        **options: Any,
    ) -> StackResult:
        """Return the states of all positions; options are those of `StackCall.of`."""
        layers = self.config.num_hidden_layers
        call = StackCall.of(self, input_ids, attention_mask, position_ids, layers=layers, **options)
        hidden = self.embed(input_ids, call.positions, call.flags.deterministic)
        context = call.context._replace(rotary=self.rotary(call.positions, hidden.dtype))
        norm = None if self.norm_name is None else getattr(self, self.norm_name)
        return getattr(self, self.stack_name)(hidden, context, call.flags, call.kept, norm)

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
        deterministic: bool = True,
        init_cache: bool = False,
        output_attentions: LayerSelection = False,
        output_hidden_states: LayerSelection = False,
        return_dict: bool = True,
    ) -> Any:
        """Return the states of all positions."""
        result = self.run(
            input_ids,
            attention_mask,
            position_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            deterministic=deterministic,
            init_cache=init_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return as_requested(result.as_output(self.output_class), return_dict)


class _HeadModule(nn.Module):
    """A decoder with a head. A subclass says which decoder, and computes the scores."""

    config: Any
    dtype: Any = jnp.float32
    gradient_checkpointing: bool = False

    base_class: ClassVar[type[DecoderModule]]
    base_name: ClassVar[str]
    output_class: ClassVar[type[ModelOutput]]

    def setup(self) -> None:
        """Make the modules."""
        setattr(self, self.base_name, self.base_class(self.config, self.dtype, self.gradient_checkpointing))
        self.add_head()

    def add_head(self) -> None:
        """Make the head."""
        raise NotImplementedError

    def scores(self, hidden: Array, input_ids: Array, mask: Array | None) -> Array:
        """Return the scores of states (B, S, hidden)."""
        raise NotImplementedError

    def linear(self, features: int) -> Any:
        """Return a linear layer without bias."""
        layout = self.base_class(self.config, self.dtype, parent=None).layout()
        return layout.untransposed().linear(features, bias=False)

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        encoder_hidden_states: Array | None = None,
        encoder_attention_mask: Array | None = None,
        deterministic: bool = True,
        init_cache: bool = False,
        output_attentions: LayerSelection = False,
        output_hidden_states: LayerSelection = False,
        return_dict: bool = True,
    ) -> Any:
        """Return the output of the head's class."""
        result = getattr(self, self.base_name).run(
            input_ids,
            attention_mask,
            position_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            deterministic=deterministic,
            init_cache=init_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        logits = self.scores(result.last_hidden_state, input_ids, attention_mask)
        return as_requested(result.as_output(self.output_class, logits=logits), return_dict)


class CausalLMModule(_HeadModule):
    """A decoder that scores each next token; tied, with the table of token embeddings."""

    def add_head(self) -> None:
        """Make the scores' matrix, where it is not the embeddings'."""
        if not self.config.tie_word_embeddings:
            self.lm_head = self.linear(self.config.vocab_size)

    def scores(self, hidden: Array, input_ids: Array, mask: Array | None) -> Array:
        """Map (B, S, hidden) to (B, S, vocab)."""
        if self.config.tie_word_embeddings:
            return getattr(self, self.base_name).token_table.attend(hidden)
        return self.lm_head(hidden)

    def next_scores(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        place: Any = None,
        **encoder: Any,
    ) -> Array:
        """Return the scores (B, vocab) of the token after a place, the last one for None."""
        result = getattr(self, self.base_name).run(input_ids, attention_mask, position_ids, **encoder)
        return self.scores(state_at(result.last_hidden_state, place), input_ids, attention_mask)[:, 0]


class LastTokenModule(_HeadModule):
    """A decoder that classifies each row by its last token that is no padding."""

    def add_head(self) -> None:
        """Make the classifier."""
        self.score = self.linear(self.config.num_labels)

    def scores(self, hidden: Array, input_ids: Array, mask: Array | None) -> Array:
        """Map (B, S, hidden) to (B, labels)."""
        return self.score(last_rows(hidden, input_ids, mask, self.config.pad_token_id))


class FlaxDecoderModel(FlaxPreTrainedModel[ConfigType]):
    """Base of decoders; arguments in the order that Llama has them."""

    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        params: Any = None,
        past_key_values: Any = None,
        dropout_rng: Any = None,
        train: bool = False,
        output_attentions: Any = None,
        output_hidden_states: Any = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Return the model's output; see `modeloutputs.flax.calls`."""
        arrays: Arrays = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        flags = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self._call(arrays, params, dropout_rng, train, flags, return_dict, past_key_values)
