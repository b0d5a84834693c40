"""Arguments of `forward`, the same for all models (B rows, S positions).

- `input_ids` (B, S) integers, or `inputs_embeds` (B, S, hidden) in their place.
- `attention_mask` (B, past + S), non-zero at tokens and zero at padding, on either side; masked tokens count as absent
  and take no position. Or (B, S, past + S) or (B, heads, S, past + S), a full mask for each query; positions then
  count padding too.
- `position_ids` (B, S); from the mask where not passed.
- `token_type_ids` (B, S), 0 for the first text, 1 for the second.
- `encoder_hidden_states` (B, E, hidden) and `encoder_attention_mask` (B, E), for a decoder with cross-attention.
- `head_mask` (heads,) or (layers, heads), factors on the attention weights of each head, 0 to leave it out; in a
  decoder of its cross-attention too. BART has one for each kind of attention. Llama has none.
- `past_key_values`, the cache that an earlier call returned; it is not changed.
- `use_cache`, `output_hidden_states`, `output_attentions`, `return_dict`: the configuration's where not passed. The two
  `output_` flags also take layer indices: other layers are then None, so that indices keep their meaning. With
  `return_dict=False` a plain tuple of the fields that are present is returned.
- `labels`; `num_items`, which transformers calls `num_items_in_batch`, and `label_smoothing` are explained in
  `modeloutputs.torch.losses`.
- `logits_to_keep`: how many positions, counted from the end, a language model computes logits for; 0 for all.

All models raise InputError for an argument that is missing or of wrong shape, dtype or range, before anything is
computed.
"""

from typing import Any, NamedTuple, TypedDict, cast

from torch import Tensor

from ..errors import InputError
from .cache import PastKeyValues
from .layers import LayerSelection
from .losses import NumItems
from .outputs import BaseModelOutput
from .values import require_tensor

__all__ = [
    "DecoderInputs",
    "EncoderOutputs",
    "Flags",
    "HeadInputs",
    "Inputs",
    "LossInputs",
    "LossOptions",
    "Seq2SeqHeadInputs",
    "Seq2SeqInputs",
    "take_loss_options",
]

EncoderOutputs = BaseModelOutput | tuple[Any, ...]
"""An encoder's result, as an output or a plain tuple."""


class Flags(TypedDict, total=False):
    """Layers to return."""

    output_hidden_states: LayerSelection | None
    output_attentions: LayerSelection | None


class Inputs(Flags, total=False):
    """Inputs beside ids, mask and token types."""

    position_ids: Tensor | None
    inputs_embeds: Tensor | None
    head_mask: Tensor | None


class DecoderInputs(Inputs, total=False):
    """Inputs of a decoder that keeps a cache and may attend to an encoder."""

    past_key_values: PastKeyValues | None
    encoder_hidden_states: Tensor | None
    encoder_attention_mask: Tensor | None
    use_cache: bool | None


class Seq2SeqInputs(Flags, total=False):
    """Inputs of an encoder-decoder beside ids and masks; see `modeloutputs.torch.BartModel`."""

    encoder_outputs: EncoderOutputs | None
    past_key_values: PastKeyValues | None
    inputs_embeds: Tensor | None
    decoder_inputs_embeds: Tensor | None
    position_ids: Tensor | None
    decoder_position_ids: Tensor | None
    head_mask: Tensor | None
    decoder_head_mask: Tensor | None
    cross_attn_head_mask: Tensor | None


# Not among the named parameters of `forward`: what a training loop finds there with "label" in its name, as that of
# transformers does, it takes for labels that each batch must have.
class LossInputs(TypedDict, total=False):
    """How a loss is computed."""

    num_items: NumItems | None
    num_items_in_batch: NumItems | None
    label_smoothing: float


class HeadInputs(DecoderInputs, LossInputs, total=False):
    """Inputs of a model with a head beside ids, mask and token types."""


class Seq2SeqHeadInputs(Seq2SeqInputs, LossInputs, total=False):
    """Inputs of an encoder-decoder with a head beside ids and masks."""


class LossOptions(NamedTuple):
    """How a loss is computed; see `modeloutputs.torch.losses`."""

    num_items: NumItems | None = None
    label_smoothing: float = 0.0


def take_loss_options(inputs: object, **labels: Tensor | None) -> LossOptions:
    """Take the options of a loss out of a call's further inputs, of which the rest is the base model's.

    Args:
        inputs: a dictionary, which is changed.
        **labels: checked to be tensors, where passed.

    Raises:
        InputError: labels that are no tensors, or both names of one option.
    """
    for name, value in labels.items():
        if value is not None:
            require_tensor(value, name)
    options = cast("dict[str, Any]", inputs)
    num_items, same = options.pop("num_items", None), options.pop("num_items_in_batch", None)
    if num_items is not None and same is not None:
        raise InputError("both num_items and num_items_in_batch were passed; they are one argument")
    return LossOptions(same if num_items is None else num_items, options.pop("label_smoothing", 0.0))
