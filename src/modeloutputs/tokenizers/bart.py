"""BART's tokenizer (Lewis et al., 2020, section 3.4), which is RoBERTa's: GPT-2's encoding with tokens around texts."""

import json
from typing import TYPE_CHECKING, Any

from .base import Config, Tokens
from .gpt2 import ByteLevelTokenizer
from .settings import FLAG

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["BartTokenizer"]


class BartTokenizer(ByteLevelTokenizer):
    """`<s> text </s>` or `<s> a </s></s> b </s>` in pieces of bytes, from tokenizer.json or vocab.json + merges.txt.

    `<mask>` takes the space before it along, so that it stands for a word with its space. Setting of its own, beside
    `add_prefix_space`: `trim_offsets`, whether a token's offsets leave out the space that it begins with.
    """

    model_type = "bart"
    default_special_tokens = {  # noqa: RUF012  # the base says that it is a class variable
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": {"content": "<mask>", "lstrip": True},
    }
    own_settings = {**ByteLevelTokenizer.own_settings, "trim_offsets": FLAG}  # noqa: RUF012

    @classmethod
    def _add_special_tokens(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        ids = {name: (token.content, backend.token_to_id(token.content)) for name, token in tokens.items()}
        _set_processor(backend, config, ids["sep_token"], ids["cls_token"], trim_offsets=True, add_prefix_space=False)

    @classmethod
    def _apply_settings(cls, backend: "Tokenizer", config: Config, tokens: Tokens) -> None:
        from tokenizers.processors import RobertaProcessing

        super()._apply_settings(backend, config, tokens)
        if isinstance(backend.post_processor, RobertaProcessing):
            said = json.loads(backend.post_processor.__getstate__())
            del said["type"]
            _set_processor(backend, config, said.pop("sep"), said.pop("cls"), **said)


def _set_processor(backend: "Tokenizer", config: Config, sep: Any, first: Any, **options: bool) -> None:
    """Put `first` and `sep` around texts; settings win over options."""
    from tokenizers.processors import RobertaProcessing

    settings = {name: config[name] for name in options if config.get(name) is not None}
    backend.post_processor = RobertaProcessing(tuple(sep), tuple(first), **{**options, **settings})
