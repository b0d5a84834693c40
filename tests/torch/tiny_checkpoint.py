"""Writes a tiny GPT-2 with a byte-level tokenizer, for trying the command line: `python -m tests.torch.tiny_checkpoint
FOLDER`. Its weights are random, so its words are noise.
"""

import sys
from pathlib import Path

from ..support.tiny_text import tokenizer
from .generating import text_model


def main(folder: str) -> None:
    """Write model and tokenizer."""
    text_model(n_positions=256).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    sys.stdout.write(f"a GPT-2 of random weights, whose words are noise, lies in {str(Path(folder))!r}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
