"""Print, as constraints for pip, the lowest versions that pyproject.toml allows: each ">=" becomes "==".

Those of the package's dependencies and of the extra "test", with the extras that it takes in.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]


def lowest(requirements: Iterable[str]) -> Iterator[str]:
    for requirement in requirements:
        if extra := re.fullmatch(r"fastconv\[(\w+)\]", requirement):
            yield from lowest(PROJECT["optional-dependencies"][extra[1]])
        else:
            name, version = requirement.split(">=")
            yield f"{name}=={version}"


print(*lowest([*PROJECT["dependencies"], "fastconv[test]"]), sep="\n")
