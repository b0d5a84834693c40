"""Labels of `run`: names, indices, numbers."""

import numpy as np
import pytest

from modeloutputs import InputError
from modeloutputs.architectures import BertConfig
from modeloutputs.cli.labels import read_labels

STARS = BertConfig(id2label={0: "1", 1: "2", 2: "many"})
TASK = "sequence-classification"


def read(labels: list[str], config: BertConfig = STARS, task: str = TASK) -> list[float]:
    found = read_labels(task, labels, config, len(labels))
    assert found is not None
    assert found.dtype == (np.float32 if isinstance(found.tolist()[0], float) else np.int64)
    return found.tolist()


def test_names_go_before_indices():
    assert read(["many", "2", "0"]) == [2, 1, 0]


def test_numbers_are_for_regression():
    one = BertConfig(num_labels=1)
    assert read(["2", "-1e-3"], one) == [2.0, pytest.approx(-0.001)]
    assert read(["2.5"]) == [2.5]
    assert read(["good", "2.5"], BertConfig(id2label={0: "bad", 1: "good"})) == [1.0, 2.5]


def test_the_second_sentence_and_choices_have_indices():
    assert read(["1"], task="next-sentence") == [1]
    with pytest.raises(InputError, match="--label is 'yes'; expected indices"):
        read(["yes"], task="next-sentence")


def test_what_is_no_label_is_refused_with_the_classes():
    assert read_labels(TASK, [], STARS, 3) is None
    with pytest.raises(InputError, match=r"the classes are '1', '2', 'many'$"):
        read(["few"])
    with pytest.raises(InputError, match="--label was given 1 times for 3 texts"):
        read_labels(TASK, ["1"], STARS, 3)
    with pytest.raises(InputError, match="--label has no meaning for masked-lm"):
        read(["1"], task="masked-lm")
    many = BertConfig(id2label={i: f"c{i}" for i in range(30)})
    with pytest.raises(InputError, match=r"'c7' and 22 more$"):
        read(["x"], many)
