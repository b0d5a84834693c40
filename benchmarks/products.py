"""Every way to compute a product, over a grid of shapes, beside the one that the rule chooses on this machine.

`python benchmarks/products.py [--quick]` prints GB/s of weights for a few rows and GFLOP/s for many, and how often the
choice is within a tenth of the fastest. Weights of the few rows are read from memory, not from a cache, as in decoding.
"""

import itertools
import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from harness import processor, time_in_turn
from modeloutputs.torch.product_ways import TRANSPOSED_WAYS, WAYS
from modeloutputs.torch.products import MAX_FEW_ROWS, choose_product

THREADS = 2
QUICK = "--quick" in sys.argv
ROUNDS = 5 if QUICK else 11
CLOSE = 1.1
"""How much slower than the fastest a choice may be to count as right."""

COLD_BYTES = 2e8
"""Of all copies of one weight, more than caches hold."""

FEW = (1, 2, 3, 4, 8, 16, 32, 64)
MANY = (128, 512, 1024, 4096)
SIZES = ((384, 384), (384, 1152), (384, 1536), (1536, 384), (768, 768), (768, 2304), (768, 3072), (3072, 768))
VOCABULARIES = ((768, 50257), (768, 30522))
TRANSPOSED = ((768, 2304), (768, 768), (768, 3072), (3072, 768))


class Shape(NamedTuple):
    """One product."""

    rows: int
    inputs: int
    outputs: int
    transposed: bool

    @property
    def is_few(self) -> bool:
        """Whether its speed is that of reading the weight."""
        return self.rows <= MAX_FEW_ROWS


def grid() -> list[Shape]:
    """Return all shapes: those of BERT, GPT-2 and MiniLM."""
    every = slice(None, None, 2 if QUICK else 1)
    rows = (*FEW, *MANY)[every]
    plain = [Shape(n, *size, False) for size in SIZES[every] for n in rows]
    vocabularies = [Shape(n, *size, False) for size in VOCABULARIES for n in FEW[:6][every]]
    return plain + vocabularies + [Shape(n, *size, True) for size in TRANSPOSED[every] for n in rows]


def measure(shape: Shape) -> dict[str, float]:
    """Return the seconds of each way."""
    ways = TRANSPOSED_WAYS if shape.transposed else WAYS
    size = (shape.inputs, shape.outputs) if shape.transposed else (shape.outputs, shape.inputs)
    rows, bias = torch.randn(shape.rows, shape.inputs), torch.randn(shape.outputs)
    nbytes = 4 * shape.inputs * shape.outputs
    copies = max(2, int(COLD_BYTES / nbytes)) if shape.is_few else 1
    weights = [torch.randn(size) for _ in range(copies)]

    def call(name: str) -> Callable[[], object]:
        products = itertools.cycle([ways[name](weight, bias) for weight in weights])
        return lambda: next(products)(rows)

    flops = 2 * shape.rows * shape.inputs * shape.outputs
    calls = max(4, copies // 8) if shape.is_few else max(1, int(5e8 / flops))
    return time_in_turn({name: call(name) for name in ways}, ROUNDS, warmup=1, calls=calls)


def shown(shape: Shape, times: dict[str, float], chosen: str, names: list[str]) -> list[str]:
    """Return a line of the table; the chosen way is marked, and the fastest one is bold."""
    work = 4 * shape.inputs * shape.outputs if shape.is_few else 2 * shape.rows * shape.inputs * shape.outputs
    best = min(times, key=times.__getitem__)
    cells: list[str] = []
    for name in names:
        speed = f"{work / times[name] / 1e9:.1f}" if name in times else ""
        speed = f"[bold]{speed}[/]" if name == best else speed
        cells.append(f"{speed} ◂" if name == chosen else speed)
    slower = times[chosen] / times[best]
    verdict = "" if slower <= CLOSE else f"[red]{slower:.2f} x[/]"
    weight = f"{shape.inputs} → {shape.outputs}" + (" (in, out)" if shape.transposed else "")
    return [str(shape.rows), weight, "GB/s" if shape.is_few else "GFLOP/s", *cells, verdict]


def main() -> None:
    """Measure and print the grid."""
    torch.set_num_threads(THREADS)
    names = [*dict.fromkeys((*WAYS, *TRANSPOSED_WAYS))]
    table = Table("rows", "weight", "", *names, "from the fastest", box=None, title=processor(), title_justify="left")
    slower: list[float] = []
    with torch.inference_mode():
        for shape in grid():
            times = measure(shape)
            chosen = choose_product(shape.rows, shape.inputs, shape.outputs, transposed=shape.transposed)
            slower.append(times[chosen] / min(times.values()))
            table.add_row(*shown(shape, times, chosen, names))
    console = Console(highlight=False, width=150)
    console.print(table)
    right = sum(factor <= CLOSE for factor in slower) / len(slower)
    verdict = "[green]met[/]" if right >= 0.95 else "[red]missed[/]"
    console.print(
        f"◂ chosen by the rule: within {CLOSE - 1:.0%} of the fastest for {right:.0%} of {len(slower)} shapes "
        f"(asked ≥ 95% {verdict}); in the middle {statistics.median(slower):.2f}, at worst {max(slower):.2f} x"
    )


if __name__ == "__main__":
    main()
