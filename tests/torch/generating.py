"""What the tests of generation share: models that generate, their peers with the same weights, a tiny tokenizer."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import modeloutputs.torch as ours

from ..support.tiny_text import ids_of, tokenizer
from .peer import peer_class
from .tiny import BART_SIZES, BY_NAME, GPT_SIZES, LLAMA_SIZES, SIZES, padded_mask, randomise, states, token_ids

LENGTHS = (7, 4, 6)


@dataclass(frozen=True)
class Generator:
    """A class that generates, and how the peer's is configured.

    Args:
        name: of the class, the same in both libraries.
        config: the peer's configuration class.
        settings: of the configuration.
        pads_left: whether the peer counts positions from a row's first token.
        variant: tells two of one class apart.
    """

    name: str
    config: str
    settings: Mapping[str, Any]
    pads_left: bool = True
    variant: str = ""

    @property
    def id(self) -> str:
        return self.name + self.variant

    @property
    def is_seq2seq(self) -> bool:
        return self.name == "BartForConditionalGeneration"

    @property
    def crosses(self) -> bool:
        return bool(self.settings.get("add_cross_attention"))

    def pair(self, **changes: Any) -> tuple[Any, Any]:
        """Return our model and the peer's, of the same weights."""
        return _pair(self, tuple(sorted(changes.items())))

    def inputs(self, *, padded: bool = True, rows: int = len(LENGTHS)) -> dict[str, Any]:
        """Return what both libraries' `generate` takes, padded on the left where the peer can do with that."""
        ids = token_ids(rows, max(LENGTHS), 90)
        mask = torch.ones_like(ids)
        if padded and self.pads_left:
            mask = padded_mask(LENGTHS, "left", max(LENGTHS))[:rows]
            # The peer penalises the repetition of padding; here that is of a token that was there anyway.
            ids = torch.where(mask == 0, ids[:, -1:], ids)
        more = {"encoder_hidden_states": states(rows, 5), "encoder_attention_mask": torch.ones(rows, 5)}
        if self.is_seq2seq:
            mask = padded_mask(LENGTHS, "right", max(LENGTHS))[:rows]
        return {"input_ids": ids, "attention_mask": mask, **(more if self.crosses else {})}


_MADE: dict[tuple[str, str], tuple[Any, Any]] = {}


def _pair(generator: Generator, changes: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    key = (generator.id, repr(changes))
    if key not in _MADE:
        config = peer_class(generator.config)(**{**generator.settings, **dict(changes)})
        theirs = randomise(peer_class(generator.name)(config)).eval()
        with tempfile.TemporaryDirectory() as folder:
            theirs.save_pretrained(folder)
            _MADE[key] = getattr(ours, generator.name).from_pretrained(folder), theirs
    return _MADE[key]


_END = {"eos_token_id": 7, "bos_token_id": 7, "pad_token_id": 3}
_BART = {**BART_SIZES, "eos_token_id": 7, "bos_token_id": 0, "pad_token_id": 3, "decoder_start_token_id": 7}
GENERATORS = (
    Generator("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", GPT_SIZES),
    Generator("GPT2LMHeadModel", "GPT2Config", {**GPT_SIZES, **_END}),
    Generator(
        "GPT2LMHeadModel", "GPT2Config", {**GPT_SIZES, **_END, "add_cross_attention": True}, variant=", crossing"
    ),
    Generator("LlamaForCausalLM", "LlamaConfig", {**LLAMA_SIZES, **_END}),
    Generator("BertLMHeadModel", "BertConfig", {**SIZES, **_END, "is_decoder": True}),
    Generator("BartForConditionalGeneration", "BartConfig", {**_BART, "forced_eos_token_id": None}, pads_left=False),
    Generator(
        "BartForCausalLM",
        "BartConfig",
        {**_BART, "encoder_layers": 3, "is_decoder": True, "is_encoder_decoder": False, "forced_eos_token_id": None},
        pads_left=False,
    ),
)
BY_ID = {generator.id: generator for generator in GENERATORS}
DECODERS = tuple(generator for generator in GENERATORS if not generator.is_seq2seq)
MANY_ENDS = [7, 11, 12, 13, 53, 17, 19, *range(20, 36)]


# -- text ---------------------------------------------------------------------------------------------------------


def text_model(**changes: Any) -> ours.GPT2LMHeadModel:
    """Return a GPT-2 of the tokenizer's vocabulary."""
    end = tokenizer().eos_token_id
    sizes = {**GPT_SIZES, "vocab_size": len(tokenizer()), "bos_token_id": end, "eos_token_id": end}
    return randomise(ours.GPT2LMHeadModel(ours.GPT2Config(**{**sizes, **changes}))).eval()


def text_ids(text: str) -> Tensor:
    return torch.tensor([ids_of(text)])


class Scripted(ours.GPT2LMHeadModel):
    """Says what it is told to: each row its own tokens, whatever was read, with a count of the calls."""

    def __init__(self, *scripts: list[int], **changes: Any) -> None:
        super().__init__(text_model(**changes).config)
        self.scripts = scripts
        self.calls = 0

    def decode_step(self, tokens: Tensor, mask: Tensor | None, cache: Any, inputs: Any) -> tuple[Tensor, Any]:
        said = [script[min(self.calls, len(script) - 1)] for script in self.scripts]
        self.calls += 1
        logits = torch.zeros(len(said), self.config.vocab_size)
        logits[torch.arange(len(said)), said] = 9.0
        return logits, cache


@contextmanager
def counted_calls(model: Any) -> Iterator[list[int]]:
    """Count a model's calls: their lengths, as they come."""
    calls: list[int] = []
    handle = model.register_forward_hook(lambda _m, args, _o: calls.append(args[0].shape[1] if args else 0))
    try:
        yield calls
    finally:
        handle.remove()


def model_of(name: str) -> Any:
    """Return our tiny model of a head alone."""
    return BY_NAME[name].model()
