"""Functions generated for a class, field by field, where a loop over the fields would take much of the time."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["generate"]


def generate(name: str, parameters: Sequence[str], body: Sequence[str], closure: Mapping[str, Any]) -> Any:
    """Return a function from the source of its parameters and of the lines of its body.

    It reaches what it needs as closure variables, and its globals are this module's, as in a function written by hand:
    compilers that trace it look names up there.

    Examples:
        >>> generate("add", ["x"], ["return x + __more"], {"__more": 2})(3)
        5
    """
    source = "\n".join(
        [
            f"def factory({', '.join(closure)}):",
            f"    def {name}({', '.join(parameters)}):",
            *(f"        {line}" for line in body),
            f"    return {name}",
        ]
    )
    namespace: dict[str, Any] = {}
    exec(source, globals(), namespace)
    return namespace["factory"](**closure)
