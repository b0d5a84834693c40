"""The structure of the code, read from its syntax trees: who owns each idea, import circles, sizes.

`python -m tests.house` prints it; `tests/test_house.py` holds it.
"""

import ast
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

SRC = Path(__file__).parents[1] / "src"
TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Concept:
    """An idea, the module that owns it, and a pattern that only its owner's code may contain."""

    name: str
    owner: str
    pattern: str
    exceptions: tuple[str, ...] = ()
    """Modules that may contain the pattern for another purpose."""


CONCEPTS = (
    Concept("is this an array", "output/nested.py", r'hasattr\([^)]*"dtype"\)'),
    Concept("rebuilding a nested value", "output/nested.py", r"\._make\("),
    Concept("flat names of nested arrays", "output/nested.py", r"two arrays are"),
    Concept(
        "one array in two places",
        "output/nested.py",
        r"\bArrayMemo\b\W*(?:\(|:)(?=.*class )|^class ArrayMemo|data_ptr\(\), tuple",
    ),
    Concept("what an annotation says", "output/schema.py", r"\bget_origin\b|\bdim_str\b"),
    Concept("element types", "arrays/dtypes.py", r'"BF16"'),
    Concept("operations of a framework's arrays", "arrays/base.py", r"^class Backend\b"),
    Concept("is a compiler tracing", "arrays/tracing.py", r"^def in_compiler_trace"),
    Concept("frameworks and their nicknames", "frameworks.py", r"^FRAMEWORKS ="),
    Concept("mapped safetensors files", "files/safetensors.py", r"\bmmap\.mmap\("),
    Concept("files that appear whole or not at all", "files/atomic.py", r"os\.replace\(|\.replace\(path\)"),
    Concept("names of weights in checkpoints", "files/weights.py", r"_orig_mod"),
    Concept("paths of a layer's modules", "architectures/layers.py", r"^class LayerPaths"),
    Concept("errors about arguments", "architectures/checks.py", r"max_position_embeddings of"),
    Concept("tasks and checks of labels", "architectures/tasks.py", r"^IGNORED ="),
    Concept("beam search", "generation/beams.py", r"^class Beams"),
    Concept("fast ways around plain modules", "torch/plain.py", r"_has_any_global_hook|\bas_strided\b"),
    Concept("calls that ignore return_dict", "torch/pretrained.py", r"return_dict=True"),
    Concept("can a tensor's values be read", "torch/values.py", r"is_functorch_wrapped_tensor"),
)


def modules(root: Path = SRC) -> dict[str, str]:
    """Return the source of each module by its path below the package."""
    package = root / "modeloutputs" if root == SRC else root
    return {str(path.relative_to(package)): path.read_text() for path in sorted(package.rglob("*.py"))}


def code(source: str) -> str:
    """Return a module's source without docstrings and comments."""
    tree = ast.parse(source)
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for line in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[line] = ""
    return "\n".join(line.partition("  # ")[0] for line in lines if not line.lstrip().startswith("#"))


def owners(concept: Concept, sources: dict[str, str]) -> list[str]:
    """Return the modules whose code contains a concept's pattern."""
    found = [path for path, text in sources.items() if re.search(concept.pattern, text, re.MULTILINE)]
    return [path for path in found if path not in concept.exceptions]


# -- sizes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A function and the lines of its body, docstring aside."""

    place: str
    lines: int


def functions(sources: dict[str, str]) -> Iterator[Function]:
    """Yield every function with the length of its body."""
    for path, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                yield Function(f"{path}:{node.lineno} {node.name}", lines)


# -- imports ----------------------------------------------------------------------------------------------------------


def imports(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return the modules that each module imports, inside functions and for types only included."""
    names = {_dotted(path): path for path in sources}
    return {path: set(_imported(path, source, names)) - {path} for path, source in sources.items()}


def _dotted(path: str) -> str:
    parts = ["modeloutputs", *Path(path).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: str, source: str, names: dict[str, str]) -> Iterator[str]:
    package = _dotted(path).split(".")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{target}.{alias.name}"
                yield names[submodule] if submodule in names else names.get(target, path)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import one another (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


# -- what a module exports --------------------------------------------------------------------------------------------


def unexported(sources: dict[str, str]) -> list[str]:
    """Return names that one module imports from another whose `__all__` does not list them."""
    exports = {_dotted(path): _exports(source) for path, source in sources.items()}
    faults: list[str] = []
    for path, source in sources.items():
        package = _dotted(path).split(".")
        package = package if path.endswith("__init__.py") else package[:-1]
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level:
                target = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
                listed = exports.get(target)
                faults += [
                    f"{path}: {target}.{alias.name}"
                    for alias in node.names
                    if listed is not None and alias.name not in listed and f"{target}.{alias.name}" not in exports
                ]
    return faults


def _exports(source: str) -> set[str] | None:
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return None


def main() -> None:
    """Print the tables."""
    sources = modules()
    console = Console(highlight=False, width=120)
    table = Table("concept", "owner", "modules that import it", title="Owners", title_justify="left", box=None)
    graph = imports(sources)
    plain = {path: code(source) for path, source in sources.items()}
    for concept in CONCEPTS:
        found = owners(concept, plain)
        users = sum(concept.owner in targets for targets in graph.values())
        table.add_row(concept.name, ", ".join(found), str(users))
    console.print(table)
    for title, texts, limit in (("src", sources, 30), ("tests", modules(TESTS), 40)):
        sizes = {path: len(text.splitlines()) for path, text in texts.items()}
        largest = sorted(sizes, key=lambda path: -sizes[path])[:5]
        lengths = list(functions(texts))
        bodies = sorted(function.lines for function in lengths)
        console.print(
            f"\n{title}: {len(sizes)} files, median {statistics.median(sizes.values()):.0f} lines, largest "
            + ", ".join(f"{path} {sizes[path]}" for path in largest)
        )
        console.print(
            f"{len(bodies)} functions, median {statistics.median(bodies):.0f} lines, nine in ten at most "
            f"{bodies[int(len(bodies) * 0.9)]}; over {limit}: "
            + (", ".join(f.place for f in lengths if f.lines > limit) or "none")
        )
    console.print(f"\nimport circles: {circles(graph) or 'none'}")
    console.print(f"names imported but not exported: {', '.join(unexported(sources)) or 'none'}")


if __name__ == "__main__":
    main()
