"""Files of every kind, damaged: loaded or refused in one line, in this process; `make fuzz` tries many more."""

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MUTATIONS = 200


@pytest.fixture(scope="module")
def fuzz() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import fuzz

        yield fuzz
        for name in ("fuzz", "fuzz_subjects", "fuzz_mutations"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def subjects(fuzz: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("subjects")
    return folder, fuzz.write_subjects(folder)


def test_every_folder_loads_as_long_as_nothing_is_changed(fuzz: Any, subjects: Any):
    folder, found = subjects
    for subject in found:
        for file in subject.files:
            content = (folder / subject.name / file).read_bytes()
            outcome = fuzz.run_case(fuzz.Case(0, subject, file, "none", content), folder, folder / "case")
            assert outcome == fuzz.Outcome("loaded"), (subject.name, file)


def test_damaged_files_are_loaded_or_refused_in_one_line(fuzz: Any, subjects: Any):
    folder, found = subjects
    outcomes = {n: fuzz.run_case(fuzz.case(11, n, folder, found), folder, folder / "case") for n in range(MUTATIONS)}
    assert {n: outcome for n, outcome in outcomes.items() if outcome.kind == "fault"} == {}
    kinds = [outcome.kind for outcome in outcomes.values()]
    assert min(kinds.count("loaded"), kinds.count("refused")) > MUTATIONS // 20


def test_an_error_of_another_kind_is_a_fault_with_its_place(fuzz: Any, subjects: Any, tmp_path: Path):
    folder, _ = subjects

    def fail(folder: Path, changed: str) -> None:
        raise TypeError(f"{changed} is odd")

    subject = fuzz.Subject("outputs", ("one_output.safetensors",), fail)
    outcome = fuzz.run_case(fuzz.Case(0, subject, subject.files[0], "none", b""), folder, tmp_path / "case")
    assert outcome == fuzz.Outcome("fault", "TypeError in the fuzzer", "one_output.safetensors is odd")


def test_cases_are_the_same_in_every_run(fuzz: Any, subjects: Any):
    folder, found = subjects
    assert [fuzz.case(3, n, folder, found) for n in range(20)] == [fuzz.case(3, n, folder, found) for n in range(20)]
    assert len({fuzz.case(3, n, folder, found).content for n in range(20)}) > 15
