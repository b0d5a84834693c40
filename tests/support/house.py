"""The structure of the source, measured: imports, exports, sizes, and the owner of each concept.

`python tests/support/house.py` prints it.
"""

import ast
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"


@dataclass(frozen=True)
class Import:
    """One name that a module takes from another of this library, type-only imports included."""

    importer: str
    source: str
    name: str


@dataclass(frozen=True)
class Concept:
    """A concept, the modules that own it, and what only they may contain."""

    name: str
    owners: tuple[str, ...]
    pattern: str


CONCEPTS = (
    Concept("nested values: which arrays, their structure", ("output.nested",), r"def (is_array|is_nested|rebuild)\b"),
    Concept("rebuilding named tuples and default dicts", ("output.nested",), r"like\._make\(|defaultdict\("),
    Concept("flat names and their collision", ("output.nested",), r"two arrays are named|f\"\{\w+\}\.\{key\}"),
    Concept("one array in two places", ("output.nested",), r"\bid\((array|leaf)|array\.stride\(\)"),
    Concept("annotations", ("output.schema",), r"\.dim_str|get_origin\(|get_type_hints\("),
    Concept("axis names", ("output.contract",), r"^(BATCH_AXIS|PADDABLE_AXES) ="),
    Concept("element types", ("arrays.dtypes",), r"\"F8_E4M3\""),
    Concept("is a compiler tracing a container?", ("arrays.tracing", "pytrees.torch"), r"is_dynamo_compiling"),
    Concept("mapped safetensors", ("files.safetensors",), r"^import mmap"),
    Concept("how errors name an array", ("arrays.base",), r"\} of \{(self|backend|own)\.name\}"),
    Concept("frameworks and their names", ("frameworks",), r"Framework\(\"|^NICKNAMES ="),
    Concept("names of weights in checkpoints", ("files.weights",), r"_orig_mod"),
    Concept("paths of a layer's modules", ("architectures.layers",), r"^class \w+Paths\b"),
    Concept(
        "errors about arguments of models", ("architectures.checks",), r"were passed; pass one of them|ranges from"
    ),
    Concept("tasks and checks of labels", ("architectures.tasks",), r"^IGNORED =|problem_type=\{"),
    Concept("beam search", ("generation.beams",), r"^class Beams?\b"),
    Concept("fast ways around plain modules", ("torch.plain",), r"_has_any_global_hook|as_strided\("),
    Concept("calls that ignore return_dict", ("torch.pretrained",), r"\breturn_dict=True\b"),
    Concept("can a tensor's values be read?", ("torch.values",), r"is_functorch_wrapped_tensor"),
    Concept("tied parameters", ("torch.weights",), r"names\.setdefault\(id\("),
)


def modules() -> dict[str, Path]:
    """Return the source files by module name, without the name of the package: `output.nested`; "" is its own."""
    found: dict[str, Path] = {}
    for path in sorted((SOURCES / "modeloutputs").rglob("*.py")):
        parts = path.relative_to(SOURCES / "modeloutputs").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports() -> Iterator[Import]:
    """Yield the imports between modules, those inside functions and for types alone included."""
    known = modules()
    for importer, path in known.items():
        package = importer.split(".") if path.name == "__init__.py" else importer.split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = [part for part in package if part][: len(package) - node.level + 1]
                source = ".".join([*base, *(node.module or "").split(".")]).strip(".")
                for alias in node.names:
                    module = f"{source}.{alias.name}".strip(".")
                    yield Import(importer, module, "") if module in known else Import(importer, source, alias.name)


def exported(path: Path) -> set[str] | None:
    """Return the names in a module's `__all__`; None if it has none."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return set(ast.literal_eval(node.value))
    return None


def unexported() -> list[Import]:
    """Return the imports of names that their module does not export."""
    known = {name: exported(path) for name, path in modules().items()}
    crossing = [it for it in imports() if it.name and not it.name.startswith("__")]
    return [it for it in crossing if it.name not in (known[it.source] or set())]


def circles() -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""
    arrows: dict[str, set[str]] = {name: set() for name in modules()}
    for it in imports():
        arrows[it.importer].add(it.source)
    reached = {name: _reachable(name, arrows) for name in arrows}
    groups = {tuple(sorted(o for o in reached[name] if name in reached[o])) for name in arrows if name in reached[name]}
    return [list(group) for group in sorted(groups)]


def _reachable(start: str, arrows: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += arrows[name]
    return found


def function_lengths(folder: Path = SOURCES) -> dict[str, int]:
    """Return the lines of each function's body, its docstring aside."""
    lengths: dict[str, int] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                lengths[f"{path.relative_to(folder)}:{node.lineno} {node.name}"] = lines
    return lengths


def file_lengths(folder: Path) -> dict[str, int]:
    """Return the lines of each Python file."""
    paths = sorted(folder.rglob("*.py"))
    return {str(path.relative_to(folder)): len(path.read_text("utf-8").splitlines()) for path in paths}


def strangers(concept: Concept) -> list[str]:
    """Return the modules beside its owners that contain what belongs to a concept."""
    found = [name for name, path in modules().items() if re.search(concept.pattern, path.read_text("utf-8"), re.M)]
    return [name for name in found if name not in concept.owners]


def main() -> None:
    """Print the structure."""
    for concept in CONCEPTS:
        others = strangers(concept)
        print(f"{concept.name:46} {', '.join(concept.owners)}" + (f"; also in {', '.join(others)}" if others else ""))
    for title, lengths in (
        ("source files", file_lengths(SOURCES)),
        ("test files", file_lengths(ROOT / "tests")),
        ("functions", function_lengths()),
    ):
        largest = max(lengths, key=lambda name: lengths[name])
        median = statistics.median(lengths.values())
        print(f"{title}: {len(lengths)}, median {median:.0f} lines, largest {lengths[largest]} ({largest})")
    print(f"circles: {circles() or 'none'}")
    print(f"unexported names that cross modules: {[f'{it.source}.{it.name}' for it in unexported()] or 'none'}")


if __name__ == "__main__":
    main()
