"""Changes every kind of file that the library reads, loads it, and holds that only the library's own errors come.

`python benchmarks/fuzz.py --mutations 20000 --seed 0` prints counts by kind of file, and the first case of each fault;
`--case N` runs one case of a seed by itself, with its traceback. A case may take 5 seconds of a processor and 2 GB of
address space above what imports take: each worker is a process, and one that dies is replaced.
"""

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fuzz_subjects import Case, Subject, case, prepare, write_subjects
from modeloutputs import ModelOutputsError

__all__ = ["Outcome", "run_case"]

SECONDS = 5.0
"""Of a processor; the clock may show more on a busy machine."""

STALLED = 30.0
"""Seconds on the clock after which a case that uses no processor is given up: it waits for something."""

MEMORY = 2 << 30


@dataclass(frozen=True)
class Outcome:
    """What came of a case: loaded, refused by the library's own error, or a fault."""

    kind: str
    fault: str = ""
    """What was raised and where; cases of one fault have the same."""

    message: str = ""


def run_case(case: Case, folder: Path, target: Path) -> Outcome:
    """Load a case's folder.

    Args:
        case: the change of a file.
        folder: holds the subjects' folders.
        target: the folder to write and load.
    """
    prepare(case, folder, target)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            case.subject.use(target, case.file)
        except ModelOutputsError as error:
            lines = len(str(error).splitlines())
            own = Outcome("refused", f"a message of {lines} lines", str(error)[:200])
            return own if lines == 1 else Outcome("fault", own.fault, own.message)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a panic of the Rust library is none of Python's exceptions
            return Outcome("fault", f"{type(error).__name__} in {_place(error)}", str(error)[:200])
    foreign = [warning for warning in caught if not warning.category.__module__.startswith("modeloutputs")]
    if foreign:
        return Outcome("fault", f"{foreign[0].category.__name__}", str(foreign[0].message)[:200])
    return Outcome("loaded")


def _place(error: BaseException) -> str:
    """Return the innermost function of the library that an error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "modeloutputs/" in frame.filename]
    return f"{frames[-1].filename.rpartition('modeloutputs/')[2]} {frames[-1].name}" if frames else "the fuzzer"


# -- processes --------------------------------------------------------------------------------------------------------


@dataclass
class Worker:
    """A process that runs every so-manieth case."""

    process: Any
    pipe: Any
    number: int
    """The case that it is at."""

    since: float = field(default_factory=time.monotonic)


class Pool:
    """Runs the cases of a seed in processes, and replaces those that die."""

    def __init__(self, seed: int, count: int, workers: int, folder: Path, subjects: tuple[Subject, ...]) -> None:
        self.seed, self.count, self.folder, self.subjects = seed, count, folder, subjects
        self.stride = workers
        self.workers = [self._start(first) for first in range(min(workers, count))]

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yield the number and outcome of each case as they come."""
        while self.workers:
            ready = connection.wait([worker.pipe for worker in self.workers], timeout=1)
            for worker in [*self.workers]:
                if worker.pipe in ready:
                    yield from self._received(worker)
                elif time.monotonic() - worker.since > STALLED:
                    worker.process.kill()

    def _received(self, worker: Worker) -> Iterator[tuple[int, Outcome]]:
        try:
            number, outcome = worker.pipe.recv()
        except EOFError:
            worker.process.join()
            yield worker.number, Outcome("fault", _death(worker.process.exitcode))
            self._replace(worker, worker.number + self.stride)
            return
        yield number, outcome
        worker.number, worker.since = number + self.stride, time.monotonic()
        if worker.number >= self.count:
            worker.process.join()
            self.workers.remove(worker)

    def _replace(self, worker: Worker, number: int) -> None:
        self.workers.remove(worker)
        if number < self.count:
            self.workers.append(self._start(number))

    def _start(self, first: int) -> Worker:
        context = get_context("fork")  # everything is imported once
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=self._work, args=(first, theirs), daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours, first)

    def _work(self, first: int, pipe: Any) -> None:
        _limit()
        target = self.folder / f"case-{first % self.stride}"
        for number in range(first, self.count, self.stride):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # ends the process, in C code too
            found = run_case(case(self.seed, number, self.folder, self.subjects), self.folder, target)
            pipe.send((number, found))


def _limit() -> None:
    """Limit this process's memory, and silence what libraries beneath print of their panics."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _death(status: int) -> str:
    if status == -signal.SIGPROF:
        return f"over {SECONDS:.0f} s of a processor"
    if status == -signal.SIGKILL:
        return f"over {STALLED:.0f} s without end"
    return f"the process died: {signal.Signals(-status).name if status < 0 else f'status {status}'}"


# -- report -----------------------------------------------------------------------------------------------------------


def report(seed: int, found: dict[int, Outcome], cases: dict[int, tuple[str, str, str]], seconds: float) -> int:
    """Print both tables and return the number of faults."""
    console = Console(highlight=False, width=140)
    counts = Counter((cases[number][1], outcome.kind) for number, outcome in found.items())
    table = Table("file", "cases", "loaded", "refused", "faults", title=f"{len(found)} mutations in {seconds:.0f} s")
    for name in sorted({name for name, _ in counts}):
        numbers = [counts[name, kind] for kind in ("loaded", "refused", "fault")]
        table.add_row(name, *map(str, (sum(numbers), *numbers)))
    console.print(table)
    faults: dict[str, list[int]] = {}
    for number, outcome in sorted(found.items()):
        if outcome.kind == "fault":
            faults.setdefault(outcome.fault, []).append(number)
    for fault, numbers in sorted(faults.items(), key=lambda item: -len(item[1])):
        subject, file, mutation = cases[numbers[0]]
        console.print(f"{len(numbers)} x {fault}", style="red", markup=False)
        console.print(f"    {mutation} of {subject}/{file}: {found[numbers[0]].message!r}", markup=False)
        console.print(f"    python benchmarks/fuzz.py --seed {seed} --case {numbers[0]}", markup=False)
    total = sum(map(len, faults.values()))
    console.print(f"{total} faults of {len(faults)} kinds")
    return total


def _run_one(chosen: Case, folder: Path) -> None:
    """Run one case here, with its traceback."""
    target = Path(tempfile.mkdtemp(prefix="fuzz-"))
    prepare(chosen, folder, target)
    sys.stdout.write(f"{chosen.mutation} of {chosen.subject.name}/{chosen.file}, in {target}\n")
    if chosen.content is not None:
        sys.stdout.write(f"{chosen.content[:1500]!r}\n")
    chosen.subject.use(target, chosen.file)


def main() -> None:
    """Run the cases that the command line asks for; faults are exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--case", type=int, help="run this case alone, with its traceback")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subjects = write_subjects(folder)
        if asked.case is not None:
            _run_one(case(asked.seed, asked.case, folder, subjects), folder)
            return
        start = time.monotonic()
        found: dict[int, Outcome] = {}
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("mutations", total=asked.mutations)
            for number, outcome in Pool(asked.seed, asked.mutations, asked.workers, folder, subjects).outcomes():
                found[number] = outcome
                progress.advance(bar)
        made = {number: case(asked.seed, number, folder, subjects) for number in found}
        names = {number: (one.subject.name, one.file, one.mutation) for number, one in made.items()}
        sys.exit(1 if report(asked.seed, found, names, time.monotonic() - start) else 0)


if __name__ == "__main__":
    main()
