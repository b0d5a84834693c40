"""Loads exported programs and runs each, in a process that knows nothing of the modules they were made of.

`python -m tests.machinery.torch_reload FOLDER`, for `test_torch.py`.
"""

import sys
from pathlib import Path

import torch

import modeloutputs.torch.outputs

from . import torch_users

CLASSES = modeloutputs.torch.outputs.CausalLMOutputWithPast, torch_users.Scored
"""What the programs return, imported as whoever wants to use them would."""


def main(folder: Path) -> None:
    """Run each program on the inputs beside it and write what it returns beside both."""
    for program in folder.glob("*.pt2"):
        module = torch.export.load(program).module()
        output = module(*torch.load(program.with_suffix(".inputs")))
        torch.save(output, program.with_suffix(".output"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
