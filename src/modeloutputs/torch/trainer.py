"""What `transformers.Trainer` does otherwise for models of this library: it saves them whole.

It trains and evaluates them as they are. Of a model that is not its own it saves the weights alone, without a
configuration, and of one with tied weights not even these.
"""

from typing import Any, cast

from .pretrained import PreTrainedModel

__all__ = ["TrainerMixin"]


class TrainerMixin:
    """Put before `transformers.Trainer`, or a subclass of it, it makes checkpoints that `from_pretrained` loads.

    Examples:
        >>> import transformers  # doctest: +SKIP
        >>> class Trainer(TrainerMixin, transformers.Trainer): ...  # doctest: +SKIP
        >>> Trainer(model, arguments, train_dataset=dataset).train()  # doctest: +SKIP
    """

    model: Any
    args: Any

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        trainer = cast("Any", super())
        model = self.model
        if not isinstance(model, PreTrainedModel):
            trainer._save(output_dir, state_dict)
            return
        folder = self.args.output_dir if output_dir is None else output_dir
        trainer._save(folder, {})  # the tokenizer and the arguments, beside no weights, which the model replaces
        given: dict[str, Any] = {} if state_dict is None else {"state_dict": state_dict}
        cast("Any", model).save_pretrained(folder, **given)
