"""Round trips of checkpoints, format by reader: `python -m tests.flax.files_table`.

Each cell is the largest difference of any weight (this library) or output (others) over one model of each architecture,
whose weights are known; "no" where the reader refuses the files or finds no weights in them, "other numbers" where it
answers with some of its own. The last column needs transformers 4.53.3 with Flax in an environment of its own, whose
Python the variable MODELOUTPUTS_ORIGINAL names.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from rich.console import Console
from rich.table import Table

from modeloutputs.files.safetensors import write_safetensors

from .tiny import BY_NAME, inputs, models

NAMES = (
    "FlaxBertForMaskedLM",
    "FlaxOpenAIGPTLMHeadModel",
    "FlaxGPT2Model",
    "FlaxLlamaForCausalLM",
    "FlaxLlamaForCausalLM, untied",
    "FlaxBartForConditionalGeneration",
)
WITHOUT_TENSORFLOW = ("FlaxLlamaForCausalLM", "FlaxLlamaForCausalLM, untied")
WITHOUT_ORIGINAL = ("FlaxOpenAIGPTLMHeadModel",)
NEAR = 1e-4
"""Beyond it, some weights were not the file's."""

Writer = Callable[[str, Path], object]


# -- writers --------------------------------------------------------------------------------------------------------


def _copy_config(name: str, folder: Path) -> tuple[Any, Any]:
    model, loaded, source = models(name)
    shutil.copy(Path(source) / "config.json", folder / "config.json")
    return model, loaded


def write_flax_layout(name: str, folder: Path) -> None:
    _, loaded = _copy_config(name, folder)
    flat = {".".join(path): np.asarray(value) for path, value in flatten_dict(loaded.params).items()}
    write_safetensors(folder / "model.safetensors", flat, {"format": "flax"})


def write_tensorflow_layout(name: str, folder: Path) -> None:
    model, _ = _copy_config(name, folder)
    weights = {weight: value.detach().numpy() for weight, value in model.named_parameters()}
    weights |= {"final_logits_bias": model.final_logits_bias.numpy()} if "Bart" in name else {}
    has_conv1d = "GPT" in name
    write_safetensors(
        folder / "model.safetensors",
        dict(in_tensorflow(weight, value, has_conv1d) for weight, value in weights.items()),
        {"format": "tf"},
    )


def in_tensorflow(name: str, value: Any, has_conv1d: bool) -> tuple[str, Any]:
    """Return the name and the values that TensorFlow's models of transformers 4.53.3 give to a weight of PyTorch."""
    if name in ("final_logits_bias", "model.shared.weight"):
        return {"model.shared.weight": "model.shared/model.shared/embeddings:0"}.get(name, f"{name}:0"), value
    name = re.sub(r"\b(layer|h)\.(\d+)\.", r"\1_._\2.", name)
    name = re.sub(r"^cls\.predictions", "mlm___cls.predictions", name)
    levels = re.sub(r"\blayers\.(\d+)", r"layers#\1", name).split(".")
    owner, leaf = levels[-2:]
    is_norm = "norm" in owner.lower() or owner.startswith("ln_")
    if leaf == "weight" and is_norm:
        leaf = "gamma"
    elif leaf == "bias" and is_norm:
        leaf = "beta"
    elif leaf == "weight" and re.search(r"embed|^w[tp]e$", owner):
        leaf = "weight" if owner in ("word_embeddings", "tokens_embed") else "embeddings"
    elif has_conv1d and leaf == "bias":
        value = value[None]
    elif leaf == "weight" and not has_conv1d:
        leaf, value = "kernel", value.T
    return "/".join((*levels[:-1], leaf)).replace("#", ".") + ":0", value


def write_pickled(name: str, folder: Path) -> None:
    model, _ = _copy_config(name, folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def write_pickled_shards(name: str, folder: Path) -> None:
    model, _ = _copy_config(name, folder)
    places = {weight: f"pytorch_model-0000{i % 2 + 1}-of-00002.bin" for i, weight in enumerate(model.state_dict())}
    for file in set(places.values()):
        part = {weight: value for weight, value in model.state_dict().items() if places[weight] == file}
        torch.save(part, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _saved(**options: Any) -> Writer:
    return lambda name, folder: models(name)[1].save_pretrained(folder, **options)


FORMATS: dict[str, Writer] = {
    "safetensors, PyTorch's layout": _saved(),
    "safetensors shards": _saved(max_shard_size="8KB"),
    "safetensors of the PyTorch wing": lambda name, folder: models(name)[0].save_pretrained(folder),
    "safetensors, Flax's layout": write_flax_layout,
    "safetensors, TensorFlow's layout": write_tensorflow_layout,
    "flax_model.msgpack": _saved(safe_serialization=False),
    "flax_model.msgpack shards": _saved(safe_serialization=False, max_shard_size="8KB"),
    "pytorch_model.bin": write_pickled,
    "pytorch_model.bin shards": write_pickled_shards,
}


def formats(name: str) -> Iterator[tuple[str, Writer]]:
    """Yield the formats that a model's weights have."""
    for title, writer in FORMATS.items():
        if "TensorFlow" not in title or name not in WITHOUT_TENSORFLOW:
            yield title, writer


# -- readers --------------------------------------------------------------------------------------------------------


def difference(found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> float:
    """Return the largest difference of arrays by name; infinite where names or shapes are not the same."""
    if found.keys() != expected.keys():
        return np.inf
    pairs = [(np.asarray(found[key]), np.asarray(expected[key])) for key in expected]
    if any(left.shape != right.shape for left, right in pairs):
        return np.inf
    return max(float(np.abs(left.astype(np.float64) - right).max(initial=0)) for left, right in pairs)


def read_flax(name: str, folder: Path) -> float:
    _, loaded, _ = models(name)
    return difference(flatten_dict(type(loaded).from_pretrained(folder).params), flatten_dict(loaded.params))


def read_torch(name: str, folder: Path) -> float:
    model, _, _ = models(name)
    return difference(type(model).from_pretrained(folder).state_dict(), model.state_dict())


def read_peer(name: str, folder: Path) -> float:
    import transformers

    model, _, _ = models(name)
    peer: Any = getattr(transformers, BY_NAME[name].torch_class)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    loaded, info = peer.from_pretrained(folder, output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(f"it lacks {len(info['missing_keys'])} weights")
    given = {key: torch.from_numpy(value) for key, value in inputs(BY_NAME[name]).items()}
    with torch.no_grad():
        pair = (loaded.eval()(**given)[0].numpy(), model(**given)[0].numpy())
    return float(np.abs(pair[0] - pair[1]).max())


ORIGINAL = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, transformers
transformers.logging.set_verbosity_error()
results = []
for name, folder, given in json.load(sys.stdin):
    try:
        model = getattr(transformers, name).from_pretrained(folder)
        if model._missing_keys:
            raise ValueError("it lacks " + str(sorted(model._missing_keys)[0]))
        arrays = {key: np.asarray(value, kind) for key, (value, kind) in given.items()}
        results.append(np.asarray(model(**arrays)[0]).tolist())
    except Exception as error:
        results.append(f"{type(error).__name__}: {error}".replace(folder, "...")[:300])
print("results:" + json.dumps(results))
"""


def read_original(jobs: list[tuple[str, Path]], python: str) -> list[float | str]:
    """Return for each model and folder the largest difference of the original's scores, or its error."""
    written: list[Any] = []
    for name, folder in jobs:
        given = {key: (value.tolist(), value.dtype.name) for key, value in inputs(BY_NAME[name]).items()}
        written.append((BY_NAME[name].flax_class, str(folder), given))
    done = subprocess.run([python, "-c", ORIGINAL], input=json.dumps(written), capture_output=True, text=True)
    line = next((line for line in done.stdout.splitlines() if line.startswith("results:")), None)
    if line is None:
        raise RuntimeError(f"the original's process failed: {done.stderr[-2000:]}")
    results: list[float | str] = []
    for (name, _), found in zip(jobs, json.loads(line.removeprefix("results:")), strict=True):
        expected = None if isinstance(found, str) else models(name)[1](**inputs(BY_NAME[name]))[0]
        results.append(
            str(found).splitlines()[0] if expected is None else float(np.abs(np.asarray(found) - expected).max())
        )
    return results


# -- the table ------------------------------------------------------------------------------------------------------

READERS: dict[str, Callable[[str, Path], float]] = {
    "Flax wing": read_flax,
    "PyTorch wing": read_torch,
    "transformers 5": read_peer,
}
REFUSALS = (ValueError, OSError, RuntimeError, KeyError)


def attempt(reader: Callable[[str, Path], float], name: str, folder: Path) -> float | str:
    """Return a difference, or the line with which the reader refuses."""
    try:
        return reader(name, folder)
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}".splitlines()[0].replace(str(folder), "...")


def cells(root: Path, python: str | None) -> dict[tuple[str, str], dict[str, float | str]]:
    """Return what each reader makes of each format, by model."""
    found: dict[tuple[str, str], dict[str, float | str]] = {}
    jobs: list[tuple[str, str, Path]] = []
    for name in NAMES:
        for i, (title, writer) in enumerate(formats(name)):
            folder = root / f"{name}-{i}"
            folder.mkdir()
            writer(name, folder)
            for reader, read in READERS.items():
                found.setdefault((title, reader), {})[name] = attempt(read, name, folder)
            if name not in WITHOUT_ORIGINAL:
                jobs.append((title, name, folder))
    original = read_original([(name, folder) for _, name, folder in jobs], python) if python else []
    for (title, name, _), result in zip(jobs, original, strict=bool(python)):
        found.setdefault((title, "transformers 4.53.3, Flax"), {})[name] = result
    return found


def summary(results: Mapping[str, float | str]) -> str:
    """Return a cell's text."""
    if not results:
        return "-"
    numbers = {name: result for name, result in results.items() if not isinstance(result, str)}
    wrong = [name for name, result in numbers.items() if result > NEAR]
    worst = max((numbers[name] for name in numbers if name not in wrong), default=None)
    if worst is None:
        return "no" if not wrong else "other numbers"
    parts = [f"{worst:.1e}" if worst else "0"]
    for title, names in (("no", results.keys() - numbers.keys()), ("other numbers", wrong)):
        if names:
            parts.append(f"{title}: {', '.join(sorted(names))}")
    return "; ".join(parts)


def main() -> None:
    """Write, read and print."""
    with tempfile.TemporaryDirectory() as root:
        found = cells(Path(root), os.environ.get("MODELOUTPUTS_ORIGINAL"))
    columns = [*READERS, "transformers 4.53.3, Flax"]
    table = Table("format", *columns, box=None, pad_edge=False)
    for title in FORMATS:
        table.add_row(title, *(summary(found.get((title, column), {})) for column in columns))
    console = Console(width=150)
    console.print(table)
    console.print()
    for (title, column), results in found.items():
        said = {result for result in results.values() if isinstance(result, str)}
        for line in sorted(said)[:1]:
            console.print(f"{column}, {title}: {line}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
