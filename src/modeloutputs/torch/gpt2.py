"""GPT-2 (Radford et al., 2019): a decoder, with cross-attention where configured, its language model and a classifier.

What they are called with is explained in `modeloutputs.torch.arguments`. `token_type_ids` are looked up among the
tokens.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor, nn

from ..architectures import GPT2Config
from .arguments import Inputs
from .cache import PastKeyValues
from .gpt import LAYER_RENAMES
from .inputs import check_ids, check_position_ids, check_tokens, last_position, positions_from_mask, rows_at
from .language import CausalLanguageModel
from .layers import Embedding, LayerNorm, LayerSelection, Linear, PositionEmbedding
from .losses import NumItems, sequence_classification_loss
from .outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    CausalLMOutputWithCrossAttentions,
    SequenceClassifierOutput,
)
from .pretrained import ModelWithHead, PreTrainedModel
from .stack import LayerSettings, Stack
from .weights import Rename

__all__ = ["GPT2ForSequenceClassification", "GPT2LMHeadModel", "GPT2Model"]


class GPT2PreTrainedModel(PreTrainedModel[GPT2Config]):
    """Base of GPT-2 models: how checkpoints spell their weights."""

    config_class = GPT2Config
    base_model_prefix = "transformer"
    renames: ClassVar[tuple[Rename, ...]] = (
        *LAYER_RENAMES,
        Rename("cross_attention.query", ("crossattention.q_attn",), transposed=True),
        Rename("cross_attention.key_value", ("crossattention.c_attn",), transposed=True),
        Rename("cross_attention.output", ("crossattention.c_proj",), transposed=True),
        Rename("cross_attention_norm", ("ln_cross_attn",)),
    )
    optional_weights = r"h\.\d+\.cross_attention"
    ignored_weights = r"(^|\.)(attn|crossattention)\.(masked_)?bias$"
    tied_weights: ClassVar[Mapping[str, str]] = {"lm_head.weight": "transformer.wte.weight"}

    def _initialise_parameter(self, name: str, module: nn.Module, leaf: str, parameter: Tensor) -> None:
        super()._initialise_parameter(name, module, leaf, parameter)
        if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
            # What is added to the residual stream, which as many as 2 n_layer blocks do (section 2.3).
            parameter.data.mul_((2 * self.config.n_layer) ** -0.5)


class GPT2Model(GPT2PreTrainedModel):
    """GPT-2 without a head."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.wte = Embedding(config.vocab_size, config.n_embd)
        self.wpe = PositionEmbedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        settings = LayerSettings(
            hidden_size=config.n_embd,
            heads=config.n_head,
            intermediate_size=config.intermediate_size,
            activation=config.hidden_act,
            norm_eps=config.layer_norm_epsilon,
            norm_first=True,
            causal=True,
            cross_attention=config.add_cross_attention,
            dropout=config.resid_pdrop,
            attention_dropout=config.attn_pdrop,
            scales=_scales(config),
        )
        self.h = Stack(settings, config.n_layer)
        self.ln_f = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self._initialise()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.wte

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: PastKeyValues | None = None,
        use_cache: bool | None = None,
        output_hidden_states: LayerSelection | None = None,
        output_attentions: LayerSelection | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Return the states of all positions, and the cache."""
        config = self.config
        rows, length = check_tokens(input_ids, inputs_embeds, config.vocab_size, config.n_embd)
        if token_type_ids is not None:
            check_ids(token_type_ids, config.vocab_size, "token_type_ids", (rows, length))
        check_position_ids(position_ids, config.n_positions, rows, length)
        given = self._given(
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        call = self.h.check(given, rows, length, config.n_positions)
        positions = positions_from_mask(attention_mask, length) if position_ids is None else position_ids
        hidden = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        hidden = hidden + self.wpe(positions, call.past, length)
        if token_type_ids is not None:
            hidden = hidden + self.wte(token_type_ids)
        result = self.h(self.drop(hidden), call, final_norm=self.ln_f)
        return self._returned(result.as_output(BaseModelOutputWithPastAndCrossAttentions), return_dict)


def _scales(config: GPT2Config) -> list[float | None]:
    """Return what each layer's scores are multiplied with, where that is not the usual."""
    usual = math.sqrt(config.n_head / config.n_embd) if config.scale_attn_weights else 1.0
    if config.scale_attn_by_inverse_layer_idx:
        return [usual / (i + 1) for i in range(config.n_layer)]
    return [None if config.scale_attn_weights else usual] * config.n_layer


class GPT2LMHeadModel(CausalLanguageModel[GPT2Config, CausalLMOutputWithCrossAttentions], GPT2PreTrainedModel):
    """Predicts each next token; returns CausalLMOutputWithCrossAttentions."""

    output_class = CausalLMOutputWithCrossAttentions

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self._add_head(config.n_embd, config.vocab_size)
        self._initialise()


class GPT2ForSequenceClassification(ModelWithHead[GPT2Config], GPT2PreTrainedModel):
    """Gives each row a class, several classes or a number, from its last token; returns SequenceClassifierOutput."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.score = Linear(config.n_embd, config.num_labels, bias=False)
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
        return_dict: bool | None = None,
        **inputs: Unpack[Inputs],
    ) -> SequenceClassifierOutput:
        """Return logits (B, labels) and, with `labels`, the loss that `sequence_classification_loss` chooses.

        A row's last token is the last that the mask shows; without a mask, the last that is no `pad_token_id`.
        """
        outputs = self.transformer(
            input_ids,
            attention_mask,
            token_type_ids,
            use_cache=False,
            return_dict=True,
            **inputs,
        )
        last = last_position(input_ids, attention_mask, self.config.pad_token_id)
        logits = self.score(rows_at(outputs.last_hidden_state, last))
        loss = None
        if labels is not None:
            problem_type = self.config.problem_type
            loss = sequence_classification_loss(
                logits, labels, problem_type, num_items=num_items, label_smoothing=label_smoothing
            )
        return self._finish(SequenceClassifierOutput, outputs, return_dict, loss=loss, logits=logits)
