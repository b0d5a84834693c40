"""GPT (Radford et al., 2018): a decoder that keeps no cache, and its language model.

What they are called with is explained in `modeloutputs.torch.arguments`. `token_type_ids` are looked up among the
tokens, as the paper's delimiters are.
"""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor, nn

from ..architectures import OpenAIGPTConfig
from ..errors import InputError
from .arguments import Inputs
from .inputs import check_ids, check_position_ids, check_tokens, positions_from_mask
from .language import LanguageModel
from .layers import Embedding, LayerSelection, PositionEmbedding
from .losses import NumItems
from .outputs import BaseModelOutput, CausalLMOutput
from .pretrained import PreTrainedModel
from .stack import LayerSettings, Stack
from .weights import Rename

__all__ = ["LAYER_RENAMES", "OpenAIGPTLMHeadModel", "OpenAIGPTModel"]

LAYER_RENAMES = (
    Rename("attention.qkv", ("attn.c_attn",), transposed=True),
    Rename("attention.output", ("attn.c_proj",), transposed=True),
    Rename("attention_norm", ("ln_1",)),
    Rename("feed_forward.up", ("mlp.c_fc",), transposed=True),
    Rename("feed_forward.down", ("mlp.c_proj",), transposed=True),
    Rename("feed_forward_norm", ("ln_2",)),
)
"""How checkpoints of GPT and GPT-2 spell a layer's weights."""


class OpenAIGPTPreTrainedModel(PreTrainedModel[OpenAIGPTConfig]):
    """Base of GPT models: how checkpoints spell their weights."""

    config_class = OpenAIGPTConfig
    base_model_prefix = "transformer"
    renames: ClassVar[tuple[Rename, ...]] = LAYER_RENAMES
    ignored_weights = r"(^|\.)(attn\.bias|position_ids)$"
    tied_weights: ClassVar[Mapping[str, str]] = {"lm_head.weight": "transformer.tokens_embed.weight"}


class OpenAIGPTModel(OpenAIGPTPreTrainedModel):
    """GPT without a head."""

    def __init__(self, config: OpenAIGPTConfig) -> None:
        super().__init__(config)
        if config.add_cross_attention:
            raise InputError("GPT has no cross-attention; leave add_cross_attention out, or take GPT-2")
        self.tokens_embed = Embedding(config.vocab_size, config.n_embd)
        self.positions_embed = PositionEmbedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        settings = LayerSettings(
            hidden_size=config.n_embd,
            heads=config.n_head,
            intermediate_size=config.intermediate_size,
            activation=config.hidden_act,
            norm_eps=config.layer_norm_epsilon,
            causal=True,
            dropout=config.resid_pdrop,
            attention_dropout=config.attn_pdrop,
        )
        self.h = Stack(settings, config.n_layer)
        self._initialise()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.tokens_embed

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput:
        """Return the states of all positions."""
        config = self.config
        rows, length = check_tokens(input_ids, inputs_embeds, config.vocab_size, config.n_embd)
        if token_type_ids is not None:
            check_ids(token_type_ids, config.vocab_size, "token_type_ids", (rows, length))
        check_position_ids(position_ids, config.n_positions, rows, length)
        flags = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        given = self._given(attention_mask=attention_mask, use_cache=False, **flags)
        call = self.h.check(given, rows, length, config.n_positions)
        positions = positions_from_mask(attention_mask, length) if position_ids is None else position_ids
        hidden = self.tokens_embed(input_ids) if inputs_embeds is None else inputs_embeds
        hidden = hidden + self.positions_embed(positions, 0, length)
        if token_type_ids is not None:
            hidden = hidden + self.tokens_embed(token_type_ids)
        return self._returned(self.h(self.drop(hidden), call).as_output(BaseModelOutput), return_dict)


class OpenAIGPTLMHeadModel(LanguageModel[OpenAIGPTConfig], OpenAIGPTPreTrainedModel):
    """Predicts each next token; returns CausalLMOutput."""

    keeps_cache = False

    def __init__(self, config: OpenAIGPTConfig) -> None:
        super().__init__(config)
        self.transformer = OpenAIGPTModel(config)
        self._add_head(config.n_embd, config.vocab_size)
        self._initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        num_items: NumItems | None = None,
        label_smoothing: float = 0.0,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> CausalLMOutput:
        """Return logits (B, S, vocab) and, with `labels` (B, S) aligned with the tokens, the loss of each next one."""
        outputs = self.transformer(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        options = (labels, num_items, label_smoothing, logits_to_keep, return_dict)
        return self._predict(CausalLMOutput, outputs, *options)
