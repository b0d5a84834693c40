"""What training asks of a model beside its loss: gradient checkpointing, gradients of inputs, counts of parameters."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .checkpointing import Checkpointing

__all__ = ["TrainingMixin"]


class TrainingMixin(nn.Module):
    """Base of models, for what training asks of them; names and meanings are those of transformers."""

    supports_gradient_checkpointing: ClassVar[bool] = True
    accepts_loss_kwargs: ClassVar[bool] = True
    """Whether a loss takes `num_items_in_batch`, which `transformers.Trainer` asks before it accumulates gradients."""
    loss_type: ClassVar[str | None] = None
    """The name that `transformers.Trainer` knows a loss by, where it needs to: whether the loss shifts its labels."""

    gradient_checkpointing: bool = False
    _checkpointing: Checkpointing = Checkpointing()
    _input_hooks: tuple[RemovableHandle, ...] = ()
    # Asked for by transformers.Trainer after it has loaded weights, of which tied ones are stored once.
    _keys_to_ignore_on_save: ClassVar[None] = None

    # -- gradient checkpointing ---------------------------------------------------------------------------------

    def gradient_checkpointing_enable(
        self,
        gradient_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Keep only each layer's input for the backward pass and compute the rest again: less memory, more time.

        Args:
            gradient_checkpointing_kwargs: options of `torch.utils.checkpoint.checkpoint`. With `use_reentrant=True`
                the embeddings are made to need gradients, as `enable_input_require_grads` does.
            every_n_layers: do so for the first of so many layers only.
            offload: keep the inputs in the memory of the CPU.

        Raises:
            InputError: options that are no mapping, or not a positive number of layers.

        Examples:
            >>> from modeloutputs.torch import GPT2Config, GPT2Model
            >>> model = GPT2Model(GPT2Config(vocab_size=50, n_embd=8, n_layer=2, n_head=2))
            >>> model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            >>> model.is_gradient_checkpointing
            True
        """
        checkpointing = Checkpointing(gradient_checkpointing_kwargs or {}, every_n_layers, offload)
        if checkpointing.is_reentrant:
            self.enable_input_require_grads()
        self._set_checkpointing(True, checkpointing)

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Do as `gradient_checkpointing_enable`, of which this is the newer name."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, every_n_layers, offload)

    def gradient_checkpointing_disable(self) -> None:
        """Keep all activations for the backward pass again."""
        self._set_checkpointing(False, Checkpointing())

    activation_checkpointing_disable = gradient_checkpointing_disable

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether a model within this one computes its layers again in the backward pass."""
        return any(isinstance(part, TrainingMixin) and part.gradient_checkpointing for part in self.modules())

    def _set_checkpointing(self, on: bool, checkpointing: Checkpointing) -> None:
        for part in self.modules():
            if isinstance(part, TrainingMixin):
                part.gradient_checkpointing, part._checkpointing = on, checkpointing

    @property
    def _active_checkpointing(self) -> Checkpointing | None:
        """How layers are computed again in this call; None where they are not."""
        return self._checkpointing if self.gradient_checkpointing and self.training else None

    # -- gradients of inputs ------------------------------------------------------------------------------------

    def enable_input_require_grads(self) -> None:
        """Have the embeddings of tokens need gradients, for adapters in a model whose weights are frozen."""
        self.disable_input_require_grads()
        tables = dict.fromkeys(cast("Any", part).get_input_embeddings() for part in self._embedding_parts())
        self._input_hooks = tuple(table.register_forward_hook(_require_grad) for table in tables)

    def disable_input_require_grads(self) -> None:
        """Undo `enable_input_require_grads`."""
        for hook in self._input_hooks:
            hook.remove()
        self._input_hooks = ()

    def _embedding_parts(self) -> list[nn.Module]:
        return [part for part in self.modules() if isinstance(part, TrainingMixin)]

    # -- counting -----------------------------------------------------------------------------------------------

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Return the number of parameters, tied ones once.

        Args:
            only_trainable: count those that need gradients.
            exclude_embeddings: leave out the weights of `nn.Embedding`, and what is tied to them.

        Examples:
            >>> from modeloutputs.torch import GPT2Config, GPT2Model
            >>> model = GPT2Model(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2, n_positions=10))
            >>> model.num_parameters(), model.num_parameters(exclude_embeddings=True)
            (1368, 888)
        """
        embeddings = {id(part.weight) for part in self.modules() if isinstance(part, nn.Embedding)}
        return sum(
            parameter.numel()
            for parameter in self.parameters()
            if (parameter.requires_grad or not only_trainable)
            and not (exclude_embeddings and id(parameter) in embeddings)
        )


def _require_grad(module: nn.Module, inputs: Any, output: Tensor) -> None:
    if torch.is_grad_enabled():
        output.requires_grad_(True)
