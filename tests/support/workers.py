"""Programs that test_workers.py runs: every operation is right in the workers of other libraries.

``python workers.py FIRST PROGRAM``: FIRST is imported first, torch or fastconv. The parent has called each
operation before, so that its threads live when workers are forked.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Any

import numpy as np

for name in (sys.argv[1:2] or ["fastconv"]) if __name__ == "__main__" else []:
    importlib.import_module(name)

import fastconv  # noqa: E402
from right_calls import LARGE, assert_agree, leaves  # noqa: E402

CASES = ("popcount_sum", "pack_signs", "correlate2d", "xnor_conv2d")
PATIENCE = 300
"""Seconds until a program is taken for hung."""


def results(case: str) -> list[np.ndarray]:
    call = LARGE[case]
    return leaves(call.call(fastconv, *call.arrays()))


class Results:
    """A dataset of PyTorch: the numbers that each operation gives."""

    def __len__(self) -> int:
        return 2 * len(CASES)

    def __getitem__(self, index: int) -> Any:
        case = CASES[index % len(CASES)]
        return case, [np.asarray(part).sum(dtype=np.float64) for part in results(case)]


def data_loader(method: str) -> None:
    import torch

    torch.ones(1 << 20).add_(1)
    expected = {case: Results()[k][1] for k, case in enumerate(CASES)}
    loader = torch.utils.data.DataLoader(
        Results(), batch_size=None, num_workers=2, multiprocessing_context=method, timeout=PATIENCE // 2
    )
    found = [(case, sums) for case, sums in loader]
    assert sorted(case for case, _ in found) == sorted(2 * CASES)
    for case, sums in found:
        assert [float(part) for part in sums] == expected[case], case


def joblib_workers(backend: str) -> None:
    import joblib

    expected = {case: results(case) for case in CASES}
    found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(results)(case) for case in 2 * CASES)
    for case, parts in zip(2 * CASES, found, strict=True):
        assert_agree(parts, expected[case])


if __name__ == "__main__":
    if hasattr(signal, "alarm"):
        signal.alarm(PATIENCE)
    program, _, kind = sys.argv[2].partition("=")
    {"data_loader": data_loader, "joblib_workers": joblib_workers}[program](kind)
