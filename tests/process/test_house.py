"""The rules of the house that can be asked of its sources: imports go downward, and every name that is
written about exists."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache

import pytest

from checkout import ROOT

SOURCE = ROOT / "src" / "fastconv"
CODE = [ROOT / "conftest.py"]
CODE += sorted(
    path
    for folder in ("src", "tests", "asv_benchmarks", "examples")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".cu", ".cuh", ".h") and "__pycache__" not in path.parts
)
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])

LAYERS = (
    ("fastconv", "__main__", "cli", "demo", "programs"),
    ("nn",),
    ("adapters",),
    ("bits", "correlation", "patches", "xnor", "reference"),
    ("cpu", "cuda"),
    ("_specs", "_epilogue", "packed", "_shared"),
    ("_geometry",),
    ("_checks", "_backends", "_remember", "_advice", "_later"),
)
"""The rooms of the package from top to bottom. A room imports from its own layer, and from those below."""

APART = ({"cpu", "cuda"}, {"cpu", "reference"}, {"cuda", "reference"})
"""Rooms that never import each other."""

FOREIGN = {
    "array_namespace", "filter2D", "sepFilter2D", "bitwise_count", "from_dlpack", "channels_last",
    "full_like",
    "GOMP_parallel", "matmulcore_cpu", "ste_sign", "timeraw_",
}  # fmt: skip
"""Names of other libraries that pages mention and no code of ours says."""


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name in it: "cpu.xnor.words"."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__") or "fastconv"
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


def imports_of(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """The modules of the package that are imported, anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fastconv":
            base = (node.module or "").removeprefix("fastconv").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                yield inner if inner in known else base or "fastconv"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "fastconv":
                    yield alias.name.removeprefix("fastconv").lstrip(".") or "fastconv"


@cache
def import_graph() -> dict[str, set[str]]:
    trees = modules()
    return {name: set(imports_of(tree, set(trees))) - {name} for name, tree in trees.items()}


def layer_of(module: str) -> int:
    room = module.split(".")[0]
    return next(at for at, rooms in enumerate(LAYERS) if room in rooms)


def test_imports_go_downward():
    for module, imported in import_graph().items():
        for other in imported:
            public = other == "fastconv" and layer_of(module) <= 2  # the package as its users see it
            assert public or layer_of(other) >= layer_of(module), f"{module} imports {other}"
            assert {module.split(".")[0], other.split(".")[0]} not in APART, f"{module} imports {other}"


def test_no_imports_go_in_a_circle():
    graph = {module: {*imported} - {"fastconv"} for module, imported in import_graph().items()}
    while graph:
        free = {module for module, imported in graph.items() if not imported & graph.keys()}
        assert free, f"these import each other: {sorted(graph)}"
        graph = {module: imported for module, imported in graph.items() if module not in free}


def test_every_module_of_the_package_has_a_layer():
    for module in modules():
        layer_of(module)


@cache
def known_names() -> frozenset[str]:
    """Every identifier of the code, without comments and docstrings; and names of files and folders."""
    names = {part for path in CODE for part in (path.stem, *path.relative_to(ROOT).parts)}
    for path in CODE:
        text = path.read_text("utf-8")
        if path.suffix == ".py":
            tokens = tokenize.generate_tokens(io.StringIO(text).readline)
            for token in tokens:
                if token.type == tokenize.NAME:
                    names.add(token.string)
                elif token.type == tokenize.STRING and "\n" not in token.string:
                    names |= set(re.findall(r"\w+", token.string))  # keys, options, fields of records
                elif token.type == tokenize.STRING and not token.string.startswith(('"""', 'r"""')):
                    names |= set(re.findall(r"\w+", token.string))
        else:
            names |= set(re.findall(r"\w+", re.sub(r"//.*", "", text)))
    return frozenset(names)


def code_names(text: str) -> Iterator[str]:
    """What stands between backticks in a page, a comment or a docstring and looks like a name of ours: with
    an underscore or a dot in it."""
    for span in re.findall(r"``?([^`\n]+)``?", text):
        if re.fullmatch(r"[\w./]+(\(\))?", span) and ("_" in span or "/" in span):
            yield span.removesuffix("()")


def unknown(span: str, names: frozenset[str]) -> bool:
    """Whether a span names a file that does not exist, or an identifier that no code knows."""
    if "/" in span or span.endswith((".py", ".md", ".cu", ".cuh")):
        last = span.rstrip("/").rsplit("/")[-1]
        return not any(True for _ in ROOT.glob(span.rstrip("/"))) and last not in files()
    return not all(part in names or part in FOREIGN or part.isdecimal() for part in span.split("."))


@cache
def files() -> frozenset[str]:
    folders = ("src", "tests", "docs", "asv_benchmarks", "examples", ".ci")
    return frozenset(path.name for folder in folders for path in (ROOT / folder).rglob("*"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_name_on_a_page_exists(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    missing = sorted({span for span in code_names(text) if unknown(span, known_names())})
    assert not missing, f"{page.name} speaks of what is not there"


def test_every_name_in_comments_and_docstrings_exists():
    missing = set()
    for path in CODE:
        if path.suffix != ".py":
            continue
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
            docstring = token.type == tokenize.STRING and token.string.startswith('"""')
            if docstring or token.type == tokenize.COMMENT:
                text = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", token.string)
                where = f"{path.relative_to(ROOT)}:{token.start[0]}"
                missing |= {f"{where} {span}" for span in code_names(text) if unknown(span, known_names())}
    assert not missing, "comments speak of what is not there:\n" + "\n".join(sorted(missing))


def test_no_parameter_lists_are_long():
    """Only faces, their reference, PyTorch's operators and constructors have more than eight parameters."""
    for name, tree in modules().items():
        public = layer_of(name) <= 3
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and not public:
                arguments = node.args
                names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
                count = len([a for a in names if a not in ("self", "typing")])
                assert count <= 8, f"{name}.{node.name} has {count} parameters"
