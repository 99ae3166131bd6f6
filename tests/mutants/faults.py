"""What a seeded fault is; the tables are in ``faults_of_<noun>.py``, by file of the source.

The old text must occur exactly once in its file: ``python tests/mutants`` names those that do not, and so
does a fast test. When a file is renamed, its table names it anew in one place; when a line is written anew,
its fault needs a new anchor there, or another that is as bad.
"""

from __future__ import annotations

from dataclasses import dataclass

KEEP_OUT = "test_forms.py::test_threads_keep_out_of_each_others_memory"
"""What compares large calls of all threads with the reference, by the call of ``right_calls.LARGE``."""

OWN_SCRATCH = "test_forms.py::test_each_worker_writes_into_scratch_of_its_own"
"""What finds workers that share memory, even where they do not meet."""


@dataclass(frozen=True)
class Fault:
    """``old`` becomes ``new`` in a ``file`` of src/fastconv; ``tests`` are those that find it: files or
    tests of tests/operations, or ``../process/``, with " & " between them. A fault that is not ``compiled``
    is in no kernel: it is in what plans, and kernels need not be compiled anew."""

    file: str
    name: str
    old: str
    new: str
    tests: str
    compiled: bool = True


def of(file: str, *rows: tuple[str, str, str, str], compiled: bool = True) -> list[Fault]:
    """Faults of one file: name, old text, new text, tests."""
    return [Fault(file, *row, compiled) for row in rows]
