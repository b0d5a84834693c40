"""GPT-2's configuration."""

from dataclasses import dataclass
from typing import ClassVar

from .gpt import GPTSizes

__all__ = ["GPT2Config"]


@dataclass(kw_only=True)
class GPT2Config(GPTSizes):
    """Sizes and rates of a GPT-2 model (Radford et al., 2019, section 2.3), named as in its config.json.

    Raises:
        InputError: as in GPT's configuration.
    """

    model_type: ClassVar[str] = "gpt2"

    vocab_size: int = 50257
    n_positions: int = 1024
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    classifier_dropout: float | None = None
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256

    @property
    def intermediate_size(self) -> int:
        """Width inside the feed-forward layers: n_inner, or four times the model's."""
        return super().intermediate_size if self.n_inner is None else self.n_inner

    @property
    def hidden_act(self) -> str:
        """The activation, under the name that other architectures have for it."""
        return self.activation_function

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rate("classifier_dropout")
        if self.n_inner is not None:
            self.require_positive("n_inner")
