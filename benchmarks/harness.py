"""Times several ways of doing the same thing in turn, in one process, and prints their ratios.

These machines are noisy: each round runs every contender once, so that a slow spell hits all alike, and what is
quoted is the median over rounds of a contender's time, and the ratio of the medians.
"""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Row", "per_call", "print_table", "processor", "time_in_turn"]


def time_in_turn(
    contenders: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2, calls: int = 1
) -> dict[str, float]:
    """Return each contender's median seconds per call, over rounds in which all run in turn.

    Args:
        contenders: what to call, by name.
        rounds: rounds that count.
        warmup: rounds before them that do not.
        calls: calls in a row that are timed together, for what takes microseconds.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(warmup + rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            for _ in range(calls):
                call()
            if index >= warmup:
                times[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(values) for name, values in times.items()}


def per_call(seconds: float) -> str:
    """Write a time with the unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def processor() -> str:
    """Return the processor's name, and the widest vectors that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else ""
    return f"{facts.get('model name', platform.processor())} {vectors}, family {facts.get('cpu family')}".strip()


@dataclass(frozen=True)
class Row:
    """One line of a table: our time beside the peer's, and what was asked of their ratio."""

    what: str
    ours: float
    peer: float
    target: float | None = None
    faster: bool = False
    """The target is how many times faster we are at least, not the largest share of the peer's time."""

    note: str = ""
    """What to print beneath the line: other contenders' times, say."""

    @property
    def ratio(self) -> float:
        """How many times faster, or the share of the peer's time."""
        return self.peer / self.ours if self.faster else self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.faster else self.ratio <= self.target


def print_table(title: str, rows: list[Row], ours: str = "ours", peer: str = "peer") -> None:
    """Print rows with their ratios, and whether each target is met."""
    table = Table("", ours, peer, "ratio", "asked", "", title=title, title_justify="left", box=None)
    for row in rows:
        times = "x faster" if row.faster else "x the time"
        asked = "" if row.target is None else f"{'≥' if row.faster else '≤'} {row.target:g}"
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
        what = f"{row.what}\n  [dim]{row.note}[/]" if row.note else row.what
        table.add_row(what, per_call(row.ours), per_call(row.peer), f"{row.ratio:.2f} {times}", asked, verdict)
    Console(highlight=False, width=120).print(table)
