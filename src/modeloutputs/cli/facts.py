"""The output classes as `modeloutputs classes` lists them, from a file: importing three frameworks takes seconds.

The file has a line for each field: framework, class, field, axes, when it is returned. `make facts` writes it anew, and
a test compares it with the classes.
"""

import csv
from itertools import groupby
from pathlib import Path

from ..frameworks import Framework
from ..output.contract import FieldContract

__all__ = ["FACTS_FILE", "recorded_classes"]

FACTS_FILE = Path(__file__).with_name("classes.tsv")


def recorded_classes(framework: Framework) -> dict[str, list[FieldContract]]:
    """Return the field contracts of each output class of a framework, which need not be installed.

    Examples:
        >>> from modeloutputs.frameworks import FRAMEWORKS
        >>> recorded_classes(FRAMEWORKS["jax"])["FlaxMaskedLMOutput"][0]
        FieldContract(name='logits', axes='(batch seq vocab)', returned_when='always')
    """
    with FACTS_FILE.open(encoding="utf-8", newline="") as file:
        rows = [row[1:] for row in csv.reader(file, delimiter="\t") if row[0] == framework.name]
    by_class = groupby(rows, key=lambda row: row[0])
    return {name: [FieldContract(*facts) for _, *facts in fields] for name, fields in by_class}
