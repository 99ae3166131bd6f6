"""Every right call for the first time inside ``torch.compile``, in a process of its own.

``python compiled_calls.py FIRST KIND [CASE ...]``: FIRST is imported first, fastconv or torch; arrays are of
KIND: tensors or arrays, or arrays for the reference. What goes wrong is printed.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from typing import Any

import numpy as np

for name in (*(sys.argv[1:2] if __name__ == "__main__" else ()), "fastconv", "torch"):
    importlib.import_module(name)

import torch  # noqa: E402

import fastconv  # noqa: E402
from right_calls import CALLS, assert_agree, leaves  # noqa: E402


def compiled(case: str, library: Any, given: list[Any]) -> list[np.ndarray]:
    """What the call gives inside ``torch.compile``, between operations of a graph."""
    call = CALLS[case]
    function, numbers = getattr(library, call.operation), torch.arange(5.0)
    bound = inspect.signature(function).bind_partial()
    bound.arguments.update(call.arguments(*given))

    def between(numbers: Any, *args: Any, **options: Any) -> Any:
        doubled = numbers * 2
        results = function(*args, **options)
        return doubled + numbers, results

    torch.compiler.reset()
    tripled, results = torch.compile(between, backend="eager")(numbers, *bound.args, **bound.kwargs)
    assert torch.equal(tripled, numbers * 3)
    return [np.asarray(leaf) for leaf in leaves(results)]


def check(case: str, kind: str) -> None:
    arrays = CALLS[case].arrays()
    given = [torch.from_numpy(np.array(x)) for x in arrays] if kind == "tensors" else arrays
    expected = leaves(CALLS[case].call(fastconv.reference, *arrays))
    library = fastconv.reference if kind == "reference" else fastconv
    assert_agree(compiled(case, library, given), expected)


if __name__ == "__main__":
    # What compilers say of themselves, as deprecations, is theirs; of our code they have nothing to say.
    warnings.filterwarnings("error", message="(?s).*(fastconv|lru_cache)")
    for case in sys.argv[3:] or CALLS:
        check(case, sys.argv[2])
