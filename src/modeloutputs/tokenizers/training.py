"""Training of a new vocabulary for a tokenizer that otherwise stays as it is."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from ..errors import InputError
from .backend import LibraryErrors
from .framing import Framing
from .special import read_special_token

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["Trainable"]


class Trainable(Framing):
    """Training from texts."""

    chat_template: Any
    clean_up_tokenization_spaces: bool
    other: dict[str, Any]

    def train_new_from_iterator(
        self,
        text_iterator: Iterable[str] | Iterable[list[str]],
        vocab_size: int,
        length: int | None = None,
        new_special_tokens: "list[str | AddedToken] | None" = None,
        special_tokens_map: Mapping[str, str] | None = None,
        **trainer_options: Any,
    ) -> Self:
        """Train a tokenizer of the same kind on other texts: normalisation, splitting, special tokens stay.

        Args:
            text_iterator: texts, or lists of texts.
            vocab_size: number of tokens to arrive at, special ones included.
            length: number of texts, for a progress bar.
            new_special_tokens: further special tokens.
            special_tokens_map: new texts of special tokens, by the old ones.
            **trainer_options: of the `tokenizers` library's trainer for this kind of model.

        Raises:
            InputError: the library refuses the texts or options.
        """
        renamed = dict(special_tokens_map or {})
        state: dict[str, Any] = json.loads(self.backend.to_str())
        tokens = _special_tokens(state, renamed)
        tokens += [read_special_token("new special token", it, error=InputError) for it in new_special_tokens or ()]
        with LibraryErrors(InputError, "a tokenizer cannot be trained on this"):
            backend = _empty(state, renamed)
            trainer = _trainer(state, vocab_size, tokens, trainer_options)
            backend.train_from_iterator(text_iterator, trainer, length)
            backend = _with_ids(backend, state["post_processor"], renamed)
        return type(self)(backend, **self._kept_settings(renamed, tokens))

    def _kept_settings(self, renamed: Mapping[str, str], tokens: "list[AddedToken]") -> dict[str, Any]:
        by_text = {token.content: token for token in tokens}
        named = {
            name: by_text.get(renamed.get(text, text), renamed.get(text, text))
            for name, text in self.special_tokens_map.items()
        }
        used = {getattr(token, "content", token) for token in named.values()}
        return {
            **named,
            "additional_special_tokens": [it for text, it in by_text.items() if text not in used],
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "chat_template": self.chat_template,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "model_input_names": list(self.model_input_names),
            "other": self.other,
        }


def _special_tokens(state: Mapping[str, Any], renamed: Mapping[str, str]) -> "list[AddedToken]":
    from tokenizers import AddedToken

    described = [{name: value for name, value in it.items() if name != "id"} for it in state["added_tokens"]]
    kept = [it for it in described if it["special"] or state["model"]["type"] == "Unigram"]
    return [AddedToken(**{**it, "content": renamed.get(it["content"], it["content"])}) for it in kept]


def _empty(state: Mapping[str, Any], renamed: Mapping[str, str]) -> "Tokenizer":
    """Return the same tokenizer without a vocabulary."""
    from tokenizers import Tokenizer

    model = dict(state["model"])
    unknown = model.get("unk_token")
    if model["type"] == "BPE":
        model.update(vocab={}, merges=[])
    elif model["type"] == "Unigram":
        number = model.get("unk_id") or 0
        unknown = renamed.get(model["vocab"][number][0], model["vocab"][number][0])
        model.update(vocab=[[unknown, 0.0]], unk_id=0)
    else:
        model.update(vocab={})
    if unknown is not None and model["type"] != "Unigram":
        model["unk_token"] = renamed.get(unknown, unknown)
    return Tokenizer.from_str(json.dumps({**state, "model": model, "added_tokens": [], "post_processor": None}))


def _trainer(state: Mapping[str, Any], size: int, tokens: "list[AddedToken]", options: Mapping[str, Any]) -> Any:
    from tokenizers import pre_tokenizers, trainers

    model = state["model"]
    kinds: dict[str, Any] = {
        "BPE": trainers.BpeTrainer,
        "Unigram": trainers.UnigramTrainer,
        "WordLevel": trainers.WordLevelTrainer,
        "WordPiece": trainers.WordPieceTrainer,
    }
    said: dict[str, Any] = {"show_progress": False}
    if model["type"] == "BPE":
        names = ("continuing_subword_prefix", "end_of_word_suffix")
        said.update({name: model[name] for name in names if model.get(name) is not None})
    if model["type"] == "Unigram":
        said["unk_token"] = model["vocab"][model.get("unk_id") or 0][0]
    if '"ByteLevel"' in json.dumps(state["pre_tokenizer"]):
        said["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    return kinds[model["type"]](vocab_size=size, special_tokens=tokens, **{**said, **options})


def _with_ids(backend: "Tokenizer", processor: Any, renamed: Mapping[str, str]) -> "Tokenizer":
    """Return a trained tokenizer that puts the same special tokens around texts, with the ids that they have now."""
    from tokenizers import Tokenizer

    if processor is None:
        return backend
    state = json.loads(backend.to_str())
    state["post_processor"] = _renumbered(processor, backend, renamed)
    return Tokenizer.from_str(json.dumps(state))


def _renumbered(processor: dict[str, Any], backend: "Tokenizer", renamed: Mapping[str, str]) -> dict[str, Any]:
    def pair(text: str) -> list[Any]:
        new = renamed.get(text, text)
        return [new, backend.token_to_id(new)]

    new = dict(processor)
    if "processors" in new:
        new["processors"] = [_renumbered(part, backend, renamed) for part in new["processors"]]
    for name in ("sep", "cls"):
        if name in new:
            new[name] = pair(new[name][0])
    if "special_tokens" in new:
        tokens = {
            name: [renamed.get(it, it) for it in entry["tokens"]] for name, entry in new["special_tokens"].items()
        }
        new["special_tokens"] = {
            name: {"id": name, "tokens": texts, "ids": [backend.token_to_id(text) for text in texts]}
            for name, texts in tokens.items()
        }
    return new
