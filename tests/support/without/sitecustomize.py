"""Run by Python as it starts where this folder is on PYTHONPATH: hides installed packages, as if they were absent.

The environment variable MODELOUTPUTS_WITHOUT names them, with commas between. Modules of these names elsewhere than in
site-packages, such as a test's stand-ins, are found as ever.
"""

import os
from importlib.machinery import ModuleSpec, PathFinder

HIDDEN = frozenset(os.environ.get("MODELOUTPUTS_WITHOUT", "").split(","))

_find_spec = PathFinder.find_spec


def find_spec(cls, name, path=None, target=None):
    """Find a module, unless it is a hidden one that is installed."""
    spec = _find_spec(name, path, target)
    return None if name in HIDDEN and spec is not None and _is_installed(spec) else spec


def _is_installed(spec: ModuleSpec) -> bool:
    places = [spec.origin or "", *(spec.submodule_search_locations or ())]
    return any("site-packages" in place for place in places)


# A bound method, as the original: pytest keeps it in a class of its own, where a function would become a method.
PathFinder.find_spec = classmethod(find_spec)
