"""What `modeloutputs classes` has on file, from the classes themselves; as a script, writes the file anew."""

import csv

from modeloutputs.cli.facts import FACTS_FILE
from modeloutputs.frameworks import FRAMEWORKS, Framework
from modeloutputs.output.contract import FieldContract, field_contracts


def declared_classes(framework: Framework) -> dict[str, list[FieldContract]]:
    """Return the field contracts of each output class of an installed framework, in declared order."""
    outputs = framework.import_outputs()
    return {name: field_contracts(getattr(outputs, name)) for name in outputs.__all__}


def write_facts() -> None:
    """Write the file; every framework has to be installed."""
    with FACTS_FILE.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file, delimiter="\t", lineterminator="\n").writerow
        for framework in FRAMEWORKS.values():
            for name, contracts in declared_classes(framework).items():
                for contract in contracts:
                    write((framework.name, name, contract.name, contract.axes, contract.returned_when))


if __name__ == "__main__":
    write_facts()
