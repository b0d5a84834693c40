"""Prints for each model and head how its state dict compares with the peer's, and how many of its modules' hooks fire:
`python -m tests.torch.native.table`.
"""

from dataclasses import dataclass

import torch
import transformers
from rich.console import Console
from rich.table import Table

from modeloutputs import __version__

from ..generating import GENERATORS, Generator
from ..tiny import Head
from .cases import NATIVE_HEADS, computed, native_peer
from .sweep import fired, modules_of, steps, uses

NEW_TOKENS = 3


@dataclass(frozen=True)
class Row:
    """What is printed of one model or head."""

    name: str
    keys: int
    same: bool
    """Names and shapes are the peer's, and each loads the other's strictly and then computes the same."""
    hooks: str
    """Modules whose hook fires as often as its result is used, of all modules."""


def measure(head: Head) -> Row:
    """Compare one head with the peer."""
    ours, theirs = head.model(), native_peer(head)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (ours, theirs)]
    return Row(head.name, len(shapes[0]), shapes[0] == shapes[1] and _exchange(head, ours, theirs), _hooks(head, ours))


def _exchange(head: Head, ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    state = {name: value.clone() for name, value in ours.state_dict().items()}
    ours.load_state_dict(theirs.state_dict())
    same = torch.allclose(computed(ours, head), computed(theirs, head), rtol=0, atol=1e-5)
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    return same and torch.allclose(computed(ours, head), computed(theirs, head), rtol=0, atol=1e-5)


def _hooks(head: Head, model: torch.nn.Module) -> str:
    names = modules_of(model)
    right = [fired(model, name, lambda: computed(model, head)) == uses(model, head, name) for name in names]
    return f"{sum(right)}/{len(names)}"


def generation_hooks(generator: Generator) -> str:
    """Return the modules whose hook fires at every step that uses them, of all modules."""
    model, _ = generator.pair()
    inputs, names = generator.inputs(), modules_of(model)

    def generate() -> None:
        model.generate(**inputs, max_new_tokens=NEW_TOKENS, eos_token_id=[])

    right = [fired(model, name, generate) == steps(model, generator, name, NEW_TOKENS) for name in names]
    return f"{sum(right)}/{len(names)}"


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    console.print(
        f"[bold]modeloutputs {__version__} beside transformers {transformers.__version__}[/bold] "
        f"(PyTorch {torch.__version__})\n"
    )
    table = Table("model or head", "keys", "state dict", "hooks in a call", box=None, header_style="bold")
    for head in NATIVE_HEADS:
        row = measure(head)
        table.add_row(row.name, str(row.keys), "equal" if row.same else "[red]differs[/red]", row.hooks)
    console.print(table, "")
    table = Table("generates", "hooks", box=None, header_style="bold")
    for generator in GENERATORS:
        table.add_row(generator.id, generation_hooks(generator))
    console.print(table)


if __name__ == "__main__":
    main()
