"""Calls that cannot be made, and the line that each prints: `python -m tests.flax.bad_inputs`."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import modeloutputs.flax as flax_wing

from .tiny import models

_ROOT = tempfile.TemporaryDirectory()  # removed when Python ends
IDS = np.arange(3, 17).reshape(2, 7)


@dataclass(frozen=True)
class Bad:
    """A call that cannot be made."""

    written: str
    """As a user would write it."""
    names: str
    """What the line must name."""
    run: Callable[[], object]


def _classifier() -> Any:
    return models("FlaxBertForSequenceClassification")[1]


def _gpt2() -> Any:
    return models("FlaxGPT2Model")[1]


def _bart() -> Any:
    return models("FlaxBartForConditionalGeneration")[1]


def _bert(**given: Any) -> object:
    return _classifier()(**{"input_ids": IDS, **given})


def _load(folder: Any, **options: Any) -> object:
    return flax_wing.FlaxBertForSequenceClassification.from_pretrained(folder, **options)


def _folder(*removed: str, **written: bytes | str) -> Path:
    """Return a copy of a checkpoint without some files, and with some others; "__" stands for a dot."""
    folder = Path(tempfile.mkdtemp(dir=_ROOT.name))
    shutil.copytree(models("FlaxBertForSequenceClassification")[2], folder, dirs_exist_ok=True)
    for name in removed:
        (folder / name).unlink()
    for name, content in written.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def _truncated_msgpack() -> Path:
    folder = Path(tempfile.mkdtemp(dir=_ROOT.name))
    _classifier().save_pretrained(folder, safe_serialization=False)
    path = folder / "flax_model.msgpack"
    path.write_bytes(path.read_bytes()[:5000])
    return folder


def _params(**changed: Any) -> dict[str, Any]:
    params = {**_classifier().params, **changed}
    return {name: value for name, value in params.items() if value is not None}


def _outside() -> Path:
    places = {"weight_map": {"classifier.bias": "../model.safetensors"}}
    return _folder("model.safetensors", model__safetensors__index__json=json.dumps(places))


FILES = (
    Bad("from_pretrained('no/such/folder')", "no/such/folder", lambda: _load("no/such/folder")),
    Bad("from_pretrained(None)", "NoneType", lambda: _load(None)),
    Bad("without config.json", "config.json", lambda: _load(_folder("config.json"))),
    Bad("without weights", "has no weights", lambda: _load(_folder("model.safetensors"))),
    Bad("truncated flax_model.msgpack", "flax_model.msgpack", lambda: _load(_truncated_msgpack())),
    Bad(
        "truncated model.safetensors", "model.safetensors",
        lambda: _load(_folder(model__safetensors=b"\x09" + bytes(9))),
    ),
    Bad("index that leads out of the folder", "../model.safetensors", lambda: _load(_outside())),
    Bad("model_type 'whisper'", "whisper", lambda: _load(_folder(config__json='{"model_type": "whisper"}'))),
    Bad(
        "another architecture's checkpoint", "gpt2",
        lambda: flax_wing.FlaxBertModel.from_pretrained(models("FlaxGPT2Model")[2]),
    ),
    Bad("from_pretrained(..., num_labels=5)", "(5,)", lambda: _load(_folder(), num_labels=5)),
    Bad("from_pretrained(..., num_label=3)", "num_label", lambda: _load(_folder(), num_label=3)),
    Bad("from_pretrained(..., dtype='int8')", "int8", lambda: _load(_folder(), dtype="int8")),
    Bad("from_pretrained(..., subfolder='../x')", "../x", lambda: _load(_folder(), subfolder="../x")),
    Bad(
        "FlaxAutoModelForSeq2SeqLM of BERT", "bert",
        lambda: flax_wing.FlaxAutoModelForSeq2SeqLM.from_pretrained(_folder()),
    ),
    Bad(
        "save_pretrained(..., push_to_hub=True)", "push_to_hub",
        lambda: _classifier().save_pretrained(tempfile.gettempdir(), push_to_hub=True),
    ),
    Bad(
        "save_pretrained(..., max_shard_size='many')", "many",
        lambda: _classifier().save_pretrained(tempfile.gettempdir(), max_shard_size="many"),
    ),
)  # fmt: skip

CALLS = (
    Bad("model([[1, 2]])", "input_ids is a list", lambda: _bert(input_ids=[[1, 2]])),
    Bad("model(None)", "input_ids", lambda: _bert(input_ids=None)),
    Bad("ids beyond the vocabulary", "43 to 56", lambda: _bert(input_ids=IDS + 40)),
    Bad("ids of one axis", "(7,)", lambda: _bert(input_ids=IDS[0])),
    Bad("ids of floats", "float32", lambda: _bert(input_ids=IDS.astype("f"))),
    Bad("no ids at all", "(2, 0)", lambda: _bert(input_ids=IDS[:, :0])),
    Bad("more positions than the model has", "40 positions", lambda: _bert(input_ids=np.ones((1, 40), int))),
    Bad("mask of another length", "(2, 6)", lambda: _bert(attention_mask=np.ones((2, 6)))),
    Bad("token types beyond two", "token_type_ids", lambda: _bert(token_type_ids=IDS)),
    Bad("head_mask of three", "(3,)", lambda: _bert(head_mask=np.ones(3))),
    Bad("encoder_hidden_states to an encoder", "cross", lambda: _bert(encoder_hidden_states=np.ones((2, 3, 16), "f"))),
    Bad("attention_masks=", "attention_masks", lambda: _bert(attention_masks=IDS)),
    Bad("labels=", "labels", lambda: _bert(labels=IDS)),
    Bad("train=True", "dropout_rng", lambda: _bert(train=True)),
    Bad("train=True, dropout_rng=3", "dropout_rng is 3", lambda: _bert(train=True, dropout_rng=3)),
    Bad("output_hidden_states=[9]", "layer 9", lambda: _bert(output_hidden_states=[9])),
    Bad("params that lack the head", "classifier/bias", lambda: _bert(params=_params(classifier=None))),
    Bad(
        "params of another shape", "(16, 5)",
        lambda: _bert(params=_params(classifier={"kernel": jnp.ones((16, 5)), "bias": jnp.ones(3)})),
    ),
    Bad("params={'params': ...}", "params['params']", lambda: _bert(params={"params": _params()})),
    Bad("params=[1]", "params is a list", lambda: _bert(params=[1])),
    Bad("model.params = {}", "params lacks", lambda: setattr(_classifier(), "params", {})),
    Bad("past_key_values to an encoder", "keeps no cache", lambda: _bert(past_key_values=(1,))),
    Bad("cache with too little room", "room for 4", lambda: _gpt2()(IDS, past_key_values=_gpt2().init_cache(2, 4))),
    Bad("cache of other rows", "3 rows", lambda: _gpt2()(IDS, past_key_values=_gpt2().init_cache(3, 9))),
    Bad(
        "cache of another model", "2 heads",
        lambda: _gpt2()(IDS, past_key_values=models("FlaxLlamaForCausalLM")[1].init_cache(2, 9)),
    ),
    Bad("init_cache(0, 9)", "batch_size", lambda: _gpt2().init_cache(0, 9)),
    Bad("decode(ids, None)", "encoder_outputs", lambda: _bart().decode(IDS, None)),
    Bad("decode(ids, states of another width)", "(2, 3, 8)", lambda: _bart().decode(IDS, (np.ones((2, 3, 8), "f"),))),
    Bad("FlaxBertModel(GPT2Config())", "GPT2Config", lambda: flax_wing.FlaxBertModel(flax_wing.GPT2Config())),  # pyright: ignore
)  # fmt: skip


def message(bad: Bad) -> str:
    """Return the error of a call, with the name of its class."""
    try:
        bad.run()
    except Exception as error:  # noqa: BLE001  # whatever it is, the table shows it
        return f"{type(error).__name__}: {error}"
    return "no error"


def main() -> None:
    """Make every call and print the table."""
    table = Table("call", "what it says", box=None, pad_edge=False)
    for bad in (*FILES, *CALLS):
        table.add_row(bad.written, message(bad))
    Console(width=200).print(table, markup=False)


if __name__ == "__main__":
    main()
