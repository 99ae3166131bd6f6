"""What ``fastconv`` has at first use: its version, and layers for PyTorch, which takes seconds to import."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import tomllib
from pathlib import Path
from typing import Any

UNKNOWN = "0+unknown"
"""The version of a copy that was neither installed nor is in a checkout."""


def attribute(name: str) -> Any:
    """``fastconv.name``, where the module has none yet."""
    if name == "__version__":
        return version(Path(__file__).parents[2])
    if name == "nn":
        return importlib.import_module("fastconv.nn")
    raise AttributeError(f"module 'fastconv' has no attribute {name!r}")


def names() -> list[str]:
    """What :func:`attribute` gives here."""
    torch = sys.modules.get("torch") or importlib.util.find_spec("torch")
    return ["__version__", "nn"] if torch else ["__version__"]


def version(folder: Path) -> str:
    """That in ``pyproject.toml``, of the checkout in ``folder`` or else as it was installed."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        if project["name"] == "fastconv":
            return str(project["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        pass
    try:
        return importlib.metadata.version("fastconv")
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN
