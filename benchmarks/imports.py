"""What importing costs, each in fresh processes: above bare Python, and above PyTorch."""

import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

from harness import per_call

ROUNDS = 15
CLOCK = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
STATEMENTS = {
    "bare": "pass",
    "library": "import dataclasses, typing",
    "modeloutputs": "import modeloutputs",
    "torch": "import torch",
    "modeloutputs.torch": "import torch, modeloutputs.torch",
    "peer": "import torch; from transformers import BertForSequenceClassification, BertTokenizer",
}


def seconds(statement: str) -> float:
    """Time a statement in a fresh interpreter, the interpreter's own start not counted."""
    command = [sys.executable, "-c", CLOCK.format(statement)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def main() -> None:
    """Time all statements in turn and print what each adds."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for index in range(ROUNDS + 1):
        for name, statement in STATEMENTS.items():
            value = seconds(statement)
            if index:  # the first round fills the disk cache
                times[name].append(value)
    median = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        ("import modeloutputs, above bare Python", median["modeloutputs"] - median["bare"], 0.030),
        ("  of that Python's own dataclasses and typing", median["library"] - median["bare"], None),
        ("import modeloutputs.torch, above import torch", median["modeloutputs.torch"] - median["torch"], 0.080),
        ("transformers' BERT, above import torch", median["peer"] - median["torch"], None),
    ]
    table = Table("", "adds", "asked", "", title="Imports", title_justify="left", box=None)
    for what, added, limit in rows:
        verdict = "" if limit is None else "[green]met[/]" if added <= limit else "[red]missed[/]"
        table.add_row(what, per_call(added), "" if limit is None else f"≤ {per_call(limit)}", verdict)
    Console(highlight=False).print(table)
    program = "import modeloutputs, sys; print(*(set(sys.modules) & set(sys.argv)))"
    command = [sys.executable, "-c", program, "torch", "jax", "tensorflow", "numpy", "jaxtyping"]
    loaded = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    print("frameworks that `import modeloutputs` imports:", ", ".join(loaded) or "none")


if __name__ == "__main__":
    main()
