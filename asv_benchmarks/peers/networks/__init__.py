"""Rows of published binary networks, deployed, beside the same networks in floats.

A network is written from its paper in a file of its own, with random weights and statistics; its float twin
has float layers and ReLU in the same places. Each network has a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from peers import libraries
from peers.compare import Comparison, MismatchError, Rival, compare
from peers.elsewhere import measured_elsewhere
from peers.networks import floats
from peers.networks.floats import BFLOAT16, COMPILED, FLOAT32, INT8, OPENVINO, OPENVINO16
from peers.table import Array, Line, Row, Settings, Target
from peers.threads import ONE_THREAD

SECTION, ALONE_SECTION = "Deployed networks", "Deployed networks, one thread"
FIRST = "import torch"
BATCHES = (1, 8)
LOSS = "a loss"
ALIKE = Target(0.95)
"""Between forms of one network, whichever way its code is written."""
ALWAYS = (FLOAT32, BFLOAT16, OPENVINO, OPENVINO16)
FEW = (FLOAT32, OPENVINO)
"""With one thread."""


class Beside(NamedTuple):
    """What a network stands beside: the rivals, and its targets against them with a batch of 1, and of 8."""

    targets: Mapping[str, tuple[float, float]]
    rivals: Sequence[str] = ALWAYS


NETWORKS = {
    "Bi-Real-18": Beside({FLOAT32: (6, 6), OPENVINO: (4, 5)}, (*ALWAYS, COMPILED, INT8)),
    "ReActNet-A": Beside({FLOAT32: (6, 5)}),
    "QuickNet": Beside({FLOAT32: (6, 5)}),
    "BinaryDenseNet-28": Beside({FLOAT32: (4, 4)}),
    "XNOR-AlexNet": Beside({FLOAT32: (5, 5)}),
    "BinaryNet-VGG": Beside({FLOAT32: (8, 10)}, (*ALWAYS, INT8)),
    "MLP of the XNOR-GEMM extension": Beside({FLOAT32: (2, 3)}),
    "MLP with binary hidden layers": Beside({FLOAT32: (2, 3)}),
    "U-Net": Beside({FLOAT32: (4, 4)}),
}


def rows() -> list[Row]:
    """Each in a process of its own, where PyTorch is loaded first; all of them on one thread in another."""
    alone = Row(ALONE_SECTION, "networks on one thread", one_thread)
    return [*(replace(row, measure=_elsewhere) for row in rows_here()), alone]


def rows_here() -> list[Row]:
    return [Row(SECTION, name, partial(measured, name, beside)) for name, beside in NETWORKS.items()]


def rows_on_one_thread() -> list[Row]:
    """To be measured in a process that has no more."""
    few = Beside({}, FEW)
    return [Row(ALONE_SECTION, f"{name}, one thread", partial(measured, name, few)) for name in NETWORKS]


def _elsewhere(settings: Settings, row: Row) -> list[Line]:
    if libraries.torch() is None:
        return _not_installed(row)
    if settings.quick:  # where time says nothing
        return measured(row.name, NETWORKS[row.name], settings, row)
    only = f"^{re.escape(row.name)}$"
    return measured_elsewhere(only, settings, rows="networks", first=FIRST)[1]


def one_thread(settings: Settings, row: Row) -> list[Line]:
    if libraries.torch() is None:
        return _not_installed(row)
    only = settings.pick("", "^U-Net")
    return measured_elsewhere(only, settings, rows=row.name, first=FIRST, environment=ONE_THREAD)[1]


def _not_installed(row: Row) -> list[Line]:
    reason = "a deployed model needs PyTorch"
    return [Line(row.section, row.name, FLOAT32, "not installed", note=reason)]


def measured(name: str, beside: Beside, settings: Settings, row: Row) -> list[Line]:
    """For each batch, the first form beside the float twin's ways to run, others beside the first and one."""
    from fastconv.nn import deploy  # which needs PyTorch
    from peers.networks.catalogue import made

    network = made(name, settings.quick)
    deployed = {form: deploy(model)[0] for form, model in network.trained.items()}
    twin = floats.Twin(network.twin, network.image)
    too_long = (COMPILED,) if settings.quick else ()
    peers = [peer for peer in beside.rivals if peer not in too_long]
    lines: list[Line] = []
    for at, batch in enumerate(BATCHES):
        x = images((batch, *network.image))
        calls = {form: floats.call(model, x) for form, model in deployed.items()}
        check_equal(row, {form: (network.trained[form], calls[form]) for form in calls}, x)
        first, *others = calls
        rivals = [Rival(peer, twin.call(peer, x), _target(beside, peer, at), read=None) for peer in peers]
        rivals += [Rival(f"the same, {form}", calls[form], ALIKE) for form in others]
        lines += _lines(row, first, x, Comparison(calls[first], rivals), settings)
        for form in others:
            same = [Rival(f"the same, {first}", calls[first], ALIKE), rivals[0]]
            lines += _lines(row, form, x, Comparison(calls[form], same), settings)
    return lines


def _target(beside: Beside, peer: str, at: int) -> Target | None:
    bounds = beside.targets.get(peer)
    return None if bounds is None else Target(bounds[at])


def _lines(row: Row, form: str, x: Array, comparison: Comparison, settings: Settings) -> list[Line]:
    """The lines of a form and a batch. One in which ours is slower says so."""
    size = "×".join(map(str, x.shape[:2])) + (f"×{x.shape[2]}²" if x.ndim > 2 else "")
    name, _, alone = row.name.partition(", ")
    what = ", ".join(filter(None, [name, form, size, alone]))
    lines = compare(replace(row, name=what), comparison, settings)
    return [replace(line, note=LOSS) if _is_loss(line) and not settings.quick else line for line in lines]


def _is_loss(line: Line) -> bool:
    return line.status == "measured" and line.value is not None and line.value < 1


def check_equal(row: Row, forms: Mapping[str, tuple[Any, Any]], x: Array) -> None:
    """Every form, deployed, gives what it gave as it was trained, bit for bit.

    Raises
    ------
    MismatchError
        If one does not.
    """
    for form, (trained, deployed) in forms.items():
        expected, given = floats.call(trained, x)(), deployed()
        if expected.shape != given.shape or not (expected == given).all():
            off = np.abs(expected - given).max() if expected.shape == given.shape else np.inf
            raise MismatchError(f"{row.name} {form}: deployed and trained disagree, off by up to {off:.3g}")


def images(shape: tuple[int, ...]) -> Array:
    """Random numbers (N, C, H, W), or rows."""
    return np.random.default_rng(shape[0]).standard_normal(shape, np.float32)
