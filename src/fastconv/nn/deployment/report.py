"""What deploying a model did, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Row:
    """One module of the model: its dotted ``name``, its class, what ``became`` of it, bytes of its tensors
    before and after; and the ``reason`` for what was not done, with the way out."""

    name: str
    layer: str
    became: str
    before: int
    after: int
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """What :func:`fastconv.nn.deploy` did. ``str`` makes a table of it.

    Parameters
    ----------
    rows : tuple of Row
        In the order of the model's modules.
    deviation : float or None
        The largest difference between what the model and the deployed one made of the example; None without
        an example.
    """

    rows: tuple[Row, ...]
    deviation: float | None = None

    @property
    def before(self) -> int:
        """Bytes of the model's tensors."""
        return sum(row.before for row in self.rows)

    @property
    def after(self) -> int:
        """Bytes of the deployed model's tensors."""
        return sum(row.after for row in self.rows)

    def __str__(self) -> str:
        table = [("name", "layer", "became", "bytes before", "after")]
        reasons = [*dict.fromkeys(row.reason for row in self.rows if row.reason)]
        for row in self.rows:
            note = f" [{reasons.index(row.reason) + 1}]" if row.reason else ""
            table.append((row.name, row.layer, row.became + note, f"{row.before:,}", f"{row.after:,}"))
        table.append(("", "", "all", f"{self.before:,}", f"{self.after:,}"))
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [_line(row, widths) for row in table]
        lines.insert(1, "-" * len(lines[0]))
        lines += [f"[{number}] {reason}" for number, reason in enumerate(reasons, 1)]
        if self.deviation is not None:
            lines.append(f"largest difference on the example: {self.deviation:g}")
        return "\n".join(lines)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    """Words to the left, the two numbers at the end to the right."""
    cells = [c.ljust(w) for c, w in zip(row[:-2], widths[:-2], strict=True)]
    cells += [c.rjust(w) for c, w in zip(row[-2:], widths[-2:], strict=True)]
    return "  ".join(cells)


def bytes_of(module: nn.Module, *, recurse: bool = True) -> int:
    """Of parameters and buffers."""
    tensors = [*module.parameters(recurse), *module.buffers(recurse)]
    return sum(tensor.nbytes for tensor in tensors)


def describe(module: nn.Module) -> str:
    """Its class and, for layers, their channels."""
    sizes = [
        getattr(module, size)
        for pair in (("in_channels", "out_channels"), ("in_features", "out_features"), ("num_features",))
        for size in pair
        if hasattr(module, size)
    ]
    return f"{type(module).__name__}({', '.join(map(str, sizes))})" if sizes else type(module).__name__
