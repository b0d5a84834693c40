"""TensorFlow's start-up log lines, which are hidden, and all other lines, which are not."""

from pathlib import Path

import pytest

from modeloutputs import save
from modeloutputs.cli.quiet import is_startup_log

from ..support.needs import needs
from ..support.processes import run_code, run_python
from ..support.random_outputs import class_named, full

FAIL = """
import os, sys
from modeloutputs import save
from modeloutputs.cli.quiet import hide_startup_logs
hide_startup_logs()
try:
    import tensorflow
finally:
    os.write(2, b"after\\n")
"""
REGISTER = """
from modeloutputs import ModelOutput, pytrees
from modeloutputs.cli.quiet import hide_startup_logs
class Mine(ModelOutput):
    logits: int
registered = []
pytrees._registrar = lambda framework: lambda cls: registered.append(framework)
hide_startup_logs()
import tensorflow
print(registered)
"""
FAKE = r"""
import os
os.write(2, b"I0000 00:00:1764000000.724626    8532 port.cc:153] oneDNN custom operations are on.\n")
os.write(2, b"E0000 00:00:1764000000.724626    8532 file.cc:1] a library is broken\n")
raise RuntimeError("it does not start")
"""


@needs("tensorflow")
def test_tensorflow_is_imported_without_a_word(tmp_path: Path):
    save(full(class_named("TFMaskedLMOutput")), tmp_path / "file")
    shown = run_python("-m", "modeloutputs", "show", tmp_path / "file")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("TFMaskedLMOutput")


@pytest.mark.parametrize(("level", "hidden"), [("2", True), ("0", False)])
def test_errors_stay_and_nothing_is_hidden_after_the_import(tmp_path: Path, level: str, hidden: bool):
    (tmp_path / "tensorflow.py").write_text(FAKE)
    done = run_python("-c", FAIL, cwd=tmp_path, TF_CPP_MIN_LOG_LEVEL=level)
    printed = done.stderr.splitlines()
    assert [line for line in printed if "oneDNN" in line] == ([] if hidden else printed[:1])
    shown = printed[0 if hidden else 1 :]
    assert shown[0].endswith("a library is broken")
    assert shown[1] == "after"
    assert shown[-1] == "RuntimeError: it does not start"


def test_output_classes_are_registered_with_tensorflow_all_the_same(tmp_path: Path):
    (tmp_path / "tensorflow.py").touch()
    assert run_code(REGISTER, cwd=tmp_path) == "['tensorflow']"


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR", True),
        ("I0000 00:00:1764000000.724626    8532 port.cc:153] oneDNN custom operations are on. You may see", True),
        ("2025-11-25 13:02:24.123456: I tensorflow/core/platform/cpu_feature_guard.cc:227] This binary is", True),
        ("To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with", True),
        ("2025-11-25 13:02:24.123456: W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] TF-TRT Warning", True),
        ("E0000 00:00:1764000000.1    8532 cuda_dnn.cc:8310] Unable to register cuDNN factory: Attempting to", True),
        ("E0000 00:00:1764000000.1    8532 cuda_driver.cc:152] failed call to cuInit: UNKNOWN ERROR (303)", False),
        ("2025-11-25 13:02:24.123456: F tensorflow/core/framework/op.cc:1] the binary cannot run here", False),
        ("WARNING: this is a warning of something else", False),
        ("Traceback (most recent call last):", False),
        ("", False),
    ],
)
def test_which_lines_are_hidden(line: str, hidden: bool):
    assert is_startup_log(line.encode()) == hidden
