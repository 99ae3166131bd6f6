"""``python tests/mutants`` names the anchors that no longer occur exactly once.

``python tests/mutants WORD ...`` plants the faults whose name or file holds one of the words.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness import FAULTS, Copy, misplaced

from fastconv.programs.ending import CannotError, begin, run, say


def plant(words: list[str]) -> int:
    chosen = [fault for fault in FAULTS if any(word in f"{fault.file}: {fault.name}" for word in words)]
    if words and not chosen:
        raise CannotError(f"no fault is called like {' or '.join(words)}")
    wrong = misplaced(chosen or FAULTS)
    kept = Path(os.environ.get("NUMBA_CACHE_DIR", tempfile.gettempdir()))
    for line in wrong:
        say(line)
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder), kept / "kernels") if chosen else None
        for fault in chosen if copy else []:
            outcome = copy.with_fault(fault)
            say(f"{outcome.verdict:13} {outcome.seconds:5.0f} s  {fault.file}: {fault.name}")
            wrong += [] if outcome.found else [outcome.report[-2000:]]
    return int(bool(wrong))


begin("mutants")
sys.exit(run("mutants", partial(plant, sys.argv[1:])))
