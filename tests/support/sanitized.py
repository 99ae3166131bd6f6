"""Every operation once on a GPU, compared with its reference: what test_gpu.py runs in compute-sanitizer."""

from __future__ import annotations

import fastconv
from fastconv import reference
from right_calls import CALLS, assert_agree, leaves


def main() -> None:
    import cupy

    for call in CALLS.values():
        arrays = call.arrays()
        result = call.call(fastconv, *map(cupy.asarray, arrays))
        assert_agree([cupy.asnumpy(leaf) for leaf in leaves(result)], leaves(call.call(reference, *arrays)))


if __name__ == "__main__":
    main()
