"""A plugin of pytest for runs with a fault: compiled kernels are kept by what they are made from.

fastconv compiles all kernels anew when one line of them changes. Here a kernel is kept by the text of its
module and of all modules of fastconv.cpu that this one imports, so that a fault costs the kernels that it
is in. What is compiled goes to the folder FASTCONV_MUTANTS_KERNELS, for all copies of the source.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from fastconv.cpu import cache as compile_cache

SOURCE = Path(os.environ["FASTCONV_MUTANTS_SOURCE"])
"""The folder of the fastconv whose text counts: of the copy, or, where a fault is in no kernel, of the
original."""

KERNELS = Path(os.environ["FASTCONV_MUTANTS_KERNELS"])


def path_of(module: str) -> Path | None:
    stem = SOURCE.joinpath(*module.split(".")[1:])
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.exists():
            return path
    return None


@cache
def imported(module: str) -> frozenset[str]:
    """Modules of fastconv.cpu that a module imports, and it itself."""
    path = path_of(module)
    found = {module}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))) if path else ():
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastconv.cpu"):
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in found if path_of(name))


@cache
def digest_of(module: str) -> str:
    """A digest of a module and of all that it imports, directly or not; of a test's, all of fastconv.cpu."""
    known, new = set(), {module}
    while new:
        known |= new
        new = {name for one in new for name in imported(one)} - known
    ours = module.startswith("fastconv.")
    paths = map(path_of, sorted(known)) if ours else sorted((SOURCE / "cpu").rglob("*.py"))
    text = "".join(path.read_text("utf-8") for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Kept(compile_cache._KernelCache):
    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__(function)
        name = f"{function.__module__}.{function.__name__}-{digest_of(function.__module__)}"
        self._cache_file = compile_cache._Entries(KERNELS, name)


def same_digest() -> str:
    return ""


compile_cache.package_digest = same_digest
compile_cache._KernelCache = Kept
KERNELS.mkdir(parents=True, exist_ok=True)
