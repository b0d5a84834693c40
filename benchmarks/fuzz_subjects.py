"""What the fuzzer changes and then loads: tiny folders that hold every kind of file, and a use of each."""

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from rich.console import Console

import modeloutputs
from fuzz_mutations import mutated
from modeloutputs import ModelOutput
from modeloutputs.tokenizers import load_tokenizer
from modeloutputs.torch import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

__all__ = ["Case", "Subject", "case", "prepare", "write_subjects"]

WEIGHTS = (".safetensors", ".bin", "index.json")
MODEL_FILES = ("config.json", "generation_config.json")

Model = BertForSequenceClassification | OpenAIGPTLMHeadModel | GPT2LMHeadModel | LlamaForCausalLM
Model = Model | BartForConditionalGeneration


class Nested(ModelOutput):
    """An output with every kind of value that a file can hold."""

    logits: Any = None
    states: Any = None
    more: Any = None
    note: Any = None


@dataclass(frozen=True)
class Subject:
    """A folder, the files of it that are changed, and what is done with it after."""

    name: str
    files: tuple[str, ...]
    use: Callable[[Path, str], None]
    """Is given the folder and the name of the changed file."""


@dataclass(frozen=True)
class Case:
    """One change of one file."""

    number: int
    subject: Subject
    file: str
    mutation: str
    content: bytes | None
    """What the file holds after it; None where it is missing, a folder, or a link to itself: `mutation` says which."""


def case(seed: int, number: int, folder: Path, subjects: tuple[Subject, ...]) -> Case:
    """Return the case of a number, the same in every run and every process.

    Args:
        seed: of the run.
        number: of the case in the run.
        folder: holds the subjects' folders.
        subjects: to choose from.
    """
    random = Random(f"{seed}:{number}")
    subject = random.choice(subjects)
    file = random.choice(subject.files)
    if random.random() < 0.01:
        return Case(number, subject, file, random.choice(("missing", "folder", "link", "pipe")), None)
    mutation, content = mutated(random, file, (folder / subject.name / file).read_bytes())
    return Case(number, subject, file, mutation, content)


def prepare(case: Case, folder: Path, target: Path) -> None:
    """Write a case's folder: the subject's files as links, the changed one in its place."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in (folder / case.subject.name).iterdir():
        if path.name != case.file:
            os.link(path, target / path.name)
    changed = target / case.file
    if case.content is not None:
        changed.write_bytes(case.content)
    elif case.mutation == "folder":
        changed.mkdir()
    elif case.mutation == "link":
        changed.symlink_to(changed.name)
    elif case.mutation == "pipe":
        os.mkfifo(changed)


# -- uses -------------------------------------------------------------------------------------------------------------


def _use_checkpoint(cls: type[Model]) -> Callable[[Path, str], None]:
    """Return a use of a folder: the model where its files were changed, the tokenizer where its were."""

    def use(folder: Path, changed: str) -> None:
        is_weights = changed.endswith(WEIGHTS)
        if is_weights or changed in MODEL_FILES:
            _use_model(cls, folder)
        if not is_weights and changed != "generation_config.json":
            _use_tokenizer(folder)

    return use


def _use_model(cls: type[Model], folder: Path) -> None:
    model = cls.from_pretrained(folder)
    ids = torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        model(ids)
        if not isinstance(model, BertForSequenceClassification):
            model.generate(ids, max_new_tokens=2)
    model.save_pretrained(folder / "saved")


def _use_tokenizer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    encoding = tokenizer(["hello world", "<pad> [MASK] é\ud7ff"], truncation=True, max_length=16)
    for ids in encoding["input_ids"]:
        tokenizer.decode(ids, skip_special_tokens=True)
        tokenizer.convert_ids_to_tokens(ids)
    if tokenizer.chat_template is not None:
        tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
    tokenizer.save_pretrained(folder / "saved")


def _use_outputs(folder: Path, changed: str) -> None:
    loaded = modeloutputs.load(folder / changed)
    outputs: list[ModelOutput] = loaded if isinstance(loaded, list) else [loaded]
    for output in outputs:
        repr(output)
        Console(file=io.StringIO(), width=100).print(output)
        output.map(lambda array: array)
    modeloutputs.save(outputs, folder / "saved")


# -- the folders ------------------------------------------------------------------------------------------------------

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("hello", "world", "h", "e", "l", "o", "w", "r", "d", "##l", "##o", "##e", "é")
LETTERS = ("h", "e", "l", "o", "w", "r", "d", "Ġ", "Ã", "©", "Ġw", "he", "ll")
MERGES = (("Ġ", "w"), ("h", "e"), ("l", "l"))
SIZES: dict[str, int] = {
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
}


def write_subjects(folder: Path) -> tuple[Subject, ...]:
    """Write a folder for each subject into `folder`, and return the subjects."""
    torch.manual_seed(0)
    found = [_subject(folder, name, cls, write) for name, (cls, write) in _CHECKPOINTS.items()]
    outputs = folder / "outputs"
    outputs.mkdir()
    arrays = np.ones((2, 3), np.float32), np.arange(4)
    output = Nested(arrays[0], (None, arrays[1]), {"a": [1, "b"], "c": Nested(arrays[1])}, 0.5)
    modeloutputs.save(output, outputs / "one_output.safetensors", notes={"predictions": '["a"]'})
    modeloutputs.save([output, Nested(arrays[0])], outputs / "two_output.safetensors")
    return (*found, Subject("outputs", _names(outputs), _use_outputs))


def _subject(folder: Path, name: str, cls: type[Model], write: Callable[[Path], Model]) -> Subject:
    own = folder / name
    own.mkdir()
    model = write(own)
    model.save_pretrained(own)
    if name == "gpt2":
        _split(own)
    if name == "llama":
        _pickle(own)
    (own / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "pad_token_id": 1, "num_beams": 2}))
    return Subject(name, _names(own), _use_checkpoint(cls))


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir()))


def _write_json(folder: Path, **contents: Any) -> None:
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def _write_bert(folder: Path) -> Model:
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in (*SPECIAL, *WORDS)))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 16, "pad_token": "[PAD]"}
    added = {"18": {"content": "[X]", "lstrip": False, "rstrip": False, "normalized": False, "special": True}}
    _write_json(
        folder,
        tokenizer_config={**settings, "strip_accents": None, "tokenize_chinese_chars": True},
        special_tokens_map={"mask_token": "[MASK]", "cls_token": {"content": "[CLS]", "lstrip": False}},
        added_tokens={"[X]": int(next(iter(added)))},
    )
    return BertForSequenceClassification(BertConfig(**SIZES, id2label={0: "a", 1: "b", 2: "c"}))  # type: ignore[arg-type]


def _write_merges(folder: Path, tokens: tuple[str, ...], merges: tuple[tuple[str, str], ...], **config: Any) -> None:
    _write_json(folder, vocab={token: i for i, token in enumerate(tokens)}, tokenizer_config=config)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), "utf-8")


def _write_gpt2(folder: Path) -> Model:
    token = {"content": "<|endoftext|>", "lstrip": False, "rstrip": False, "normalized": True, "special": True}
    config = {"add_prefix_space": False, "added_tokens_decoder": {"0": token}, "bos_token": "<|endoftext|>"}
    _write_merges(folder, ("<|endoftext|>", *LETTERS), MERGES, tokenizer_class="GPT2Tokenizer", **config)
    return GPT2LMHeadModel(GPT2Config(vocab_size=24, n_embd=8, n_layer=1, n_head=2, n_positions=16))


def _write_gpt(folder: Path) -> Model:
    tokens = ("<unk>", *LETTERS[:7], "o</w>", "d</w>", "he", "ll")
    _write_merges(folder, tokens, (("h", "e"), ("l", "l")), tokenizer_class="OpenAIGPTTokenizer", unk_token="<unk>")
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=24, n_embd=8, n_layer=1, n_head=2, n_positions=16))


def _write_bart(folder: Path) -> Model:
    tokens = ("<s>", "<pad>", "</s>", "<unk>", *LETTERS, "<mask>")
    _write_merges(folder, tokens, MERGES, tokenizer_class="BartTokenizer", pad_token="<pad>", model_max_length=16)
    sizes = {f"{half}_{what}": value for half in ("encoder", "decoder") for what, value in _BART_HALF.items()}
    return BartForConditionalGeneration(BartConfig(vocab_size=24, d_model=8, max_position_embeddings=16, **sizes))


_BART_HALF = {"layers": 1, "attention_heads": 2, "ffn_dim": 8}


def _write_llama(folder: Path) -> Model:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    tokens = {token: i for i, token in enumerate(("<unk>", "<s>", "</s>", *LETTERS))}
    backend = Tokenizer(models.BPE(tokens, list(MERGES), unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(single=["<s>:0", "$A:0"], special_tokens=[("<s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    _write_json(folder, tokenizer_config={"tokenizer_class": "LlamaTokenizer", **names}, special_tokens_map=names)
    turn = "{% for message in messages %}\n<s>{{ message['role'] }}: {{ message['content'] | trim }}\n{% endfor %}\n"
    (folder / "chat_template.jinja").write_text(turn + "{% if add_generation_prompt %}\nassistant:\n{% endif %}")
    rope = {"rope_type": "linear", "factor": 2.0}
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1, rope_scaling=rope))


def _split(folder: Path) -> None:
    """Put a folder's weights into two shards with an index."""
    from safetensors.torch import load_file, save_file

    whole = folder / "model.safetensors"
    tensors, weight_map = load_file(whole), dict[str, str]()
    for i in range(2):
        part = {name: tensors[name] for name in sorted(tensors)[i::2]}
        shard = f"model-0000{i + 1}-of-00002.safetensors"
        save_file(part, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    whole.unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def _pickle(folder: Path) -> None:
    """Put a folder's weights into pytorch_model.bin."""
    from safetensors.torch import load_file

    whole = folder / "model.safetensors"
    torch.save({name: tensor.clone() for name, tensor in load_file(whole).items()}, folder / "pytorch_model.bin")
    whole.unlink()


_CHECKPOINTS: dict[str, tuple[type[Model], Callable[[Path], Model]]] = {
    "bert": (BertForSequenceClassification, _write_bert),
    "gpt": (OpenAIGPTLMHeadModel, _write_gpt),
    "gpt2": (GPT2LMHeadModel, _write_gpt2),
    "llama": (LlamaForCausalLM, _write_llama),
    "bart": (BartForConditionalGeneration, _write_bart),
}
