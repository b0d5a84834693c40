"""What tests of conversions share: pairs of frameworks, an output of no framework, caches."""

from typing import Any

import numpy as np
import pytest

from modeloutputs import ModelOutput
from modeloutputs.frameworks import FRAMEWORKS
from modeloutputs.ops.convert import convert

from .conversion_reference import (
    CLASS_PARAMS,
)
from .needs import FRAMEWORK_PARAMS, needs
from .random_outputs import array

__all__ = [
    "Custom",
    "every_class",
    "every_pair",
    "every_source",
    "is_of",
    "layer",
    "moved",
    "others_than",
    "to_every_framework",
]

every_class = pytest.mark.parametrize("name", CLASS_PARAMS)

to_every_framework = pytest.mark.parametrize("to", FRAMEWORK_PARAMS)

every_source = pytest.mark.parametrize("source", FRAMEWORK_PARAMS)

every_pair = pytest.mark.parametrize(
    ("source", "to"),
    [
        pytest.param(source, to, marks=needs(source, to))
        for source in (*FRAMEWORKS, "numpy")
        for to in (*FRAMEWORKS, "numpy")
        if source != to
    ],
)


def others_than(framework: str) -> list[Any]:
    return [param for param in FRAMEWORK_PARAMS if param.values != (framework,)]


class Custom(ModelOutput):
    """Of no framework."""

    states: Any = None
    more: Any = None


def moved(value: Any, to: str) -> Any:
    return convert(Custom(states=value), to).states


def is_of(value: Any, framework: str) -> bool:
    roots = {"torch": ("torch",), "jax": ("jax", "jaxlib"), "tensorflow": ("tensorflow",), "numpy": ("numpy",)}
    return type(value).__module__.partition(".")[0] in roots[framework]


def layer(kind: str, *, length: int = 3, width: int = 2, start: int = 0) -> tuple[Any, Any]:
    key = np.arange(start, start + 2 * 2 * length * width, dtype=np.float32).reshape(2, 2, length, width)
    return array(key, kind), array(-key, kind)
