"""For each of the 15 output classes the public calls that return it: `python -m tests.flax.producers`."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from modeloutputs import ModelOutput
from modeloutputs.flax import outputs

from .tiny import CASES, inputs, models


def calls() -> Iterator[tuple[str, ModelOutput]]:
    """Yield each public call, as it is written, and what it returns."""
    flags = {"output_hidden_states": True, "output_attentions": True}
    for case in CASES:
        _, model, _ = models(case.name)
        given: dict[str, Any] = inputs(case)
        if case.returns.endswith(("WithPast", "CrossAttentions")):
            given["past_key_values"] = model.init_cache(3, 9)
        written = f"{case.name}({', '.join([*given, *flags])})"
        yield written, model(**given, **flags)
    _, model, _ = models("FlaxBartModel")
    encoded = model.encode(inputs(CASES[-1])["input_ids"], **flags)
    yield "FlaxBartModel.encode(input_ids, ...)", encoded
    yield (
        "FlaxBartModel.decode(decoder_input_ids, encoder_outputs, past_key_values, ...)",
        model.decode(inputs(CASES[-1])["input_ids"], encoded, past_key_values=model.init_cache(3, 9), **flags),
    )


def by_class() -> dict[str, list[tuple[str, ModelOutput]]]:
    """Return the calls of each class, their outputs held against the class's axes."""
    found: dict[str, list[tuple[str, ModelOutput]]] = {name: [] for name in outputs.__all__}
    for written, output in calls():
        found[type(output.check()).__name__].append((written, output))
    return found


def main() -> None:
    """Make every call and print the table."""
    table = Table("class", "public call that returns it", "fields that stay empty", box=None, pad_edge=False)
    found = by_class()
    for name, made in found.items():
        for i, (written, output) in enumerate(made):
            empty = [field for field in type(output).__output_fields__ if field not in output]
            table.add_row("" if i else name, written, ", ".join(empty))
    console = Console(width=190)
    console.print(table)
    console.print(f"\n{sum(map(bool, found.values()))} of {len(outputs.__all__)} classes")


if __name__ == "__main__":
    main()
