"""How dimensions lie in memory."""

from __future__ import annotations


def merged(
    shape: tuple[int, ...], steps_a: tuple[int, ...], steps_b: tuple[int, ...]
) -> list[tuple[int, int, int]]:
    """Dimensions (length, step in a, step in b), as few as will do, at least one."""
    found: list[tuple[int, int, int]] = []
    for n, i, j in zip(shape, steps_a, steps_b, strict=False):
        if n == 1:
            continue
        if found and found[-1][1:] == (n * i, n * j):
            found[-1] = (found[-1][0] * n, i, j)
        else:
            found.append((n, i, j))
    return found or [(1, 0, 0)]
