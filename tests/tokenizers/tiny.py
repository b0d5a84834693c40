"""Tiny vocabularies of every kind, trained here, texts to try them on, and the peer's tokenizers of the same files."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from modeloutputs.tokenizers import (
    BartTokenizer,
    BertTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    OpenAIGPTTokenizer,
    PreTrainedTokenizer,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["hello", "world", "##s", "!", ",", "cafe", "café", "Hello", "un", "##aff", "##able", "中", "a", "b", "c"]
VOCABULARY = [*SPECIAL, *WORDS]

TEXTS = {
    "plain": "Hello, world! This is a test.",
    "empty": "",
    "blank": " \t\n\r ",
    "accents": "Café naïve Ångström déjà-vu ÉCOLE",
    "combining": "e\u0301cole a\u0308 \u0301",
    "german": "Straße GROẞ \u017f",
    "turkish": "İstanbul \u0131\u015f\u0131k",
    "greek": "Ὀδυσσεύς ΣΊΣΥΦΟΣ",
    "chinese": "中文字符和English混合",
    "beyond the first plane": "𠀀𪚥 \U0001d4bd\U0001d452\U0001d4c1\U0001d45c",
    "japanese": "こんにちは 東京タワー ﾊﾝｶｸ",
    "korean": "안녕하세요 한국어",
    "hindi": "नमस्ते दुनिया",
    "arabic": "مرحبا بالعالم",
    "thai": "สวัสดีชาวโลก",
    "emoji": "😀 👩‍👩‍👧 🇩🇪 ❤️ 👍🏽",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ — … „x“ ¿x?",
    "control": "a\u0000b\u0007c\u200bd\ufeffe\ufffdf\u00adg",
    "spaces": "a\u00a0b\u2003c\u3000d\u2028e",
    "runs of spaces": "  hello   world \n\n\t there  ",
    "numbers": "3.14 1,000 ½ Ⅷ ² 1e-5",
    "contractions": "don't we'll I'm they've it's",
    "special tokens": "[CLS] a [SEP] [MASK] [UNK] [PAD] [mask] [CLS",
    "special tokens of others": "<s> a </s><mask>b <mask> <unk> <pad> <|endoftext|>x <|end_of_text|> <s",
    "meta": "▁hello ▁ Ġworld hello</w> <0x41> <0xE2>",
    "pieces": "unaffable ##able # ##",
    "long word": "a" * 300,
    "very long": "Hello world ! " * 2000,
    "ligatures": "ﬁnal ﬃ Ǆ",
    "private": "\ue000 \U000f0000 \U0010ffff",
}
every_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
BATCH = ["Hello, world!", "", "Café 中文 😀 unaffable", "a b c a b c a b c a b c a b c a b c a b c"]
OTHERS = ["a", "hello hello hello hello hello hello", "", "World!"]

any_text = st.text(st.characters(codec="utf-8"), max_size=40)
_NAMED = [*SPECIAL, "<s>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
likely_text = st.lists(st.sampled_from([*WORDS, *_NAMED, " ", "é", "\n", "😀", "unaffables"]), max_size=8).map("".join)


# -- files --------------------------------------------------------------------------------------------------------


def write_vocabulary(folder: Path, tokens: list[str] = VOCABULARY, **config: Any) -> Path:
    """Write BERT's vocabulary, and a configuration where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return write_config(folder, **config) if config else folder


def write_config(folder: Path, **config: Any) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def write_json(backend: Any, folder: Path, **config: Any) -> Path:
    backend.save(str(folder / "tokenizer.json"))
    return write_config(folder, **config)


def write_bpe(backend: Any, folder: Path, **config: Any) -> Path:
    model = json.loads(backend.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    return write_config(folder, **config)


# -- training -----------------------------------------------------------------------------------------------------

_UNSEEN = ("very long", "private", "special tokens of others")
CORPUS = [text for name, text in TEXTS.items() if name not in _UNSEEN] * 2 + ["hello there a b c d"] * 20
BART_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(backend: Any, special: list[str], size: int, **options: Any) -> Any:
    from tokenizers.trainers import BpeTrainer

    trainer = BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, **options)
    backend.train_from_iterator(CORPUS, trainer)
    return backend


@cache
def bytes_bpe(*special: str) -> Any:
    """Train a byte-level BPE, as GPT-2's and BART's are."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return train(backend, list(special), 340, initial_alphabet=alphabet)


@cache
def words_bpe() -> Any:
    """Train a BPE of words in lower case that end in </w>, as GPT's is."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    backend = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return train(backend, ["<unk>"], 200, end_of_word_suffix="</w>", limit_alphabet=60)


@cache
def llama3_bpe() -> Any:
    """Train a byte-level BPE that splits as Llama 3 does, and puts its first token before texts."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    backend = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    backend.decoder = decoders.ByteLevel()
    train(backend, [], 330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    backend.add_special_tokens(LLAMA3_TOKENS)
    first = LLAMA3_TOKENS[0]
    template = processors.TemplateProcessing(
        single=[f"{first}:0", "$A:0"],
        pair=[f"{first}:0", "$A:0", f"{first}:1", "$B:1"],
        special_tokens=[(first, backend.token_to_id(first))],
    )
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return backend


@cache
def _llama2_model() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    model = json.loads(train(trained, special, 420, limit_alphabet=50).to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return models.BPE(model["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def _llama2() -> Any:
    from tokenizers import Tokenizer, decoders, processors

    backend = Tokenizer(_llama2_model())
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(parts)
    backend.post_processor = processors.TemplateProcessing(
        single=["<s>:0", "$A:0"], pair=["<s>:0", "$A:0", "<s>:1", "$B:1"], special_tokens=[("<s>", 1)]
    )
    return backend


@cache
def llama2_bpe() -> Any:
    """Train a BPE with a byte for what it lacks, as Llama 2's is, in the form that the peer saves."""
    from tokenizers import pre_tokenizers

    backend = _llama2()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return backend


@cache
def llama2_older_bpe() -> Any:
    """Give the same in the form that Llama 2 was published in."""
    from tokenizers import normalizers

    backend = _llama2()
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return backend


# -- kinds --------------------------------------------------------------------------------------------------------

MASK = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False}
LLAMA3_CONFIG: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": LLAMA3_TOKENS[0],
    "eos_token": LLAMA3_TOKENS[1],
    "model_input_names": ["input_ids", "attention_mask"],
    "chat_template": "{% for message in messages %}{{ message }}{% endfor %}",
}


@dataclass(frozen=True)
class Kind:
    """A tokenizer class with files that it loads, and the name of the peer's class that loads them."""

    name: str
    cls: type[PreTrainedTokenizer]
    write: Callable[[Path], Path]
    peer: str
    pad: dict[str, str] = field(default_factory=dict[str, str])  # a setting, where there is no padding token

    def both(self, folder: Path, **settings: Any) -> tuple[Any, Any]:
        """Load ours and the peer's."""
        return self.cls.from_pretrained(folder, **settings), load_peer(self.peer, folder, **settings)


def _gpt2() -> Any:
    return bytes_bpe("<|endoftext|>")


END, UNKNOWN, CLOSE = ({"pad_token": token} for token in ("<|endoftext|>", "<unk>", "</s>"))
LLAMA2_CONFIG = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
ANY = "PreTrainedTokenizerFast"  # the peer's class that takes a tokenizer.json to the letter

KINDS = [
    Kind("bert", BertTokenizer, write_vocabulary, "BertTokenizer"),
    Kind("gpt2 files", GPT2Tokenizer, lambda it: write_bpe(_gpt2(), it), "GPT2Tokenizer", END),
    Kind("gpt2 json", GPT2Tokenizer, lambda it: write_json(_gpt2(), it), "GPT2Tokenizer", END),
    Kind("bart", BartTokenizer, lambda it: write_bpe(bytes_bpe(*BART_TOKENS), it, mask_token=MASK), "BartTokenizer"),
    Kind("gpt files", OpenAIGPTTokenizer, lambda it: write_bpe(words_bpe(), it), "OpenAIGPTTokenizer", UNKNOWN),
    Kind("gpt json", OpenAIGPTTokenizer, lambda it: write_json(words_bpe(), it), "OpenAIGPTTokenizer", UNKNOWN),
    Kind("llama 2", LlamaTokenizer, lambda it: write_json(llama2_bpe(), it), "LlamaTokenizer", CLOSE),
    Kind("llama 2, older", LlamaTokenizer, lambda it: write_json(llama2_older_bpe(), it, **LLAMA2_CONFIG), ANY, CLOSE),
    Kind(
        "llama 3",
        LlamaTokenizer,
        lambda it: write_json(llama3_bpe(), it, **LLAMA3_CONFIG),
        ANY,
        {"pad_token": LLAMA3_TOKENS[1]},
    ),
]
BY_NAME = {kind.name: kind for kind in KINDS}


# -- comparing ----------------------------------------------------------------------------------------------------

Pair = tuple[Any, Any]
EVERYTHING = {"return_offsets_mapping": True, "return_special_tokens_mask": True, "return_token_type_ids": True}


def load_peer(name: str, folder: Path, **settings: Any) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    return getattr(transformers, name).from_pretrained(folder, **settings)


def peer(folder: Path, **settings: Any) -> Any:
    """Load the peer's BERT tokenizer."""
    return load_peer("BertTokenizer", folder, **settings)


def assert_same(both: Pair, *texts: Any, **options: Any) -> None:
    ours, theirs = (dict(tokenizer(*texts, **EVERYTHING, **options)) for tokenizer in both)
    assert ours == theirs


def chunks(items: list[Any], sizes: Iterable[int]) -> Iterator[list[Any]]:
    """Cut a list into pieces of these sizes, the last one being the rest."""
    start = 0
    for size in sizes:
        yield items[start : start + size]
        start += size
    yield items[start:]
