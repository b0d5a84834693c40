import pytest

from modeloutputs.arrays import tracing

from ..support.processes import run_code


def test_no_compiler_is_tracing_here():
    assert tracing.in_compiler_trace() is False


def test_pytorchs_own_function_replaces_ours_once_it_is_imported():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    code = """
import modeloutputs, sys
from modeloutputs.arrays import tracing
assert tracing.in_compiler_trace.__module__ == "modeloutputs.arrays.tracing" and "torch" not in sys.modules
class Mine(modeloutputs.ModelOutput): ...
import torch
assert tracing.in_compiler_trace is torch.compiler.is_dynamo_compiling
"""
    run_code(code)
