"""Turn a trained model into one that runs on packed bits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from fastconv._checks import choice, flag, warn
from fastconv.nn.calls import with_channels_last
from fastconv.nn.deployment.capture import Untraced, captured, unwrapped
from fastconv.nn.deployment.emit import Keep, emitted
from fastconv.nn.deployment.normal import normalized
from fastconv.nn.deployment.plan import planned
from fastconv.nn.deployment.report import Report, Row, bytes_of, describe
from fastconv.nn.deployment.twins import is_binary
from fastconv.nn.graph import PackedGraph

LAYOUTS = ("channels_last", "as given")


def deploy(
    model: nn.Module,
    example: Any = None,
    *,
    exact: bool = True,
    layout: str = "channels_last",
    signs: Sequence[type[nn.Module]] = (),
) -> tuple[nn.Module, Report]:
    """A copy of ``model`` for inference, whose binary layers hold packed words and run the kernels.

    The model is captured as a graph (:mod:`torch.fx`), so that it makes no difference how its code is
    written. A binary layer and all that follows it channel by channel, residual additions included, becomes
    one call, which gives numbers, the signs that the next layers take, or both; where nothing but signs goes
    on, integers are compared. That is exact: it is done only if it gives what PyTorch computes on the model's
    device, for every integer that the layer can give. What is not done stays as it was, and the report says
    why.

    What cannot be traced is deployed layer by layer.

    Parameters
    ----------
    model : Module
        In float32; it is not changed. The copy does what ``model.eval()`` does.
    example : tensor or tuple of what the model takes, optional
        Both models are run on it, and the report says how far they differ: the largest difference of any
        tensor among what they give, be it one or tuples, lists and dicts of them.
    exact : bool
        False also folds batch normalizations by algebra where that may change last bits: behind a residual,
        or behind XNOR-Net's K. The report says how far the example's results differ.
    layout : {"channels_last", "as given"}
        How images lie in memory between calls: PyTorch's float layers round differently, and are faster, with
        channels last. The deployed model equals the trained one in that layout. What cannot be traced keeps
        what it is given.
    signs : sequence of Module classes
        Your own modules that take signs, +1 where x >= 0 and else -1. They are tried before they are
        believed.

    Returns
    -------
    deployed : Module
        A PackedGraph, or what ``model`` is where it could not be traced.
    report : Report
        What became of each module, with bytes before and after.

    Raises
    ------
    TypeError
        If ``model`` is not a Module, a binary layer is not of float32, or ``model`` gives no tensors for
        ``example``.
    ValueError
        If ``layout`` is unknown, or a module of ``signs`` gives no signs.

    Examples
    --------
    >>> import torch
    >>> from fastconv.nn import BinaryConv2d, Sign
    >>> chain = torch.nn.Sequential(
    ...     BinaryConv2d(64, 64, 3), torch.nn.BatchNorm2d(64), Sign(), BinaryConv2d(64, 128, 3)
    ... )
    >>> deployed, report = deploy(chain, torch.randn(2, 64, 8, 8))
    >>> report.deviation
    0.0
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"deploy: model must be a torch.nn.Module, got {type(model).__name__}")
    choice("deploy", "layout", layout, LAYOUTS)
    for name, module in model.named_modules():
        if is_binary(module) and module.weight.dtype != torch.float32:
            raise TypeError(
                f"deploy: binary layers must be in float32, got {module.weight.dtype} in "
                f"{name or 'the model'}; use model.float()"
            )
    work = _Work([], [], tuple(signs), layout == "channels_last", flag("deploy", "exact", exact))
    # tensors of inference mode count no changes, without which kernels keep no layout of the words
    with torch.inference_mode(False), torch.no_grad():
        trained = copy.deepcopy(model).eval().requires_grad_(False)
        _check_signs(trained, work.signs)
        deployed = _deployed(copy.deepcopy(trained), work).eval()
        last = work.channels_last and isinstance(deployed, PackedGraph)
        if last:
            deployed = deployed.to(memory_format=torch.channels_last)
        deviation = None if example is None else _deviation(trained, deployed, example, last)
    for alarm in work.alarms:
        warn(alarm)
    return deployed, Report(tuple(work.rows), deviation)


class _Work(NamedTuple):
    """What is found on the way, and what was asked for."""

    rows: list[Row]
    alarms: list[str]
    signs: tuple[type[nn.Module], ...]
    channels_last: bool
    exact: bool

    def emitted(self, network: fx.GraphModule, rows: list[Row], keep: Keep) -> PackedGraph:
        """The graph of a captured network."""
        normalized(network, self.signs)
        graph, alarms = emitted(
            planned(network, self.exact, self.channels_last), rows, keep, self.channels_last
        )
        self.alarms.extend(alarms)
        return graph


def _deployed(model: nn.Module, work: _Work) -> nn.Module:
    """``model`` as a graph, or layer by layer."""
    model = unwrapped(model)
    done: dict[nn.Module, nn.Module] = {}

    def keep(name: str, module: nn.Module, rows: list[Row]) -> nn.Module:
        if not any(map(is_binary, module.modules())):
            return module
        return _layer_by_layer(name, module, work, rows, done)

    network = captured(model, work.signs)
    if isinstance(network, Untraced):
        work.rows.append(Row("", describe(model), "layer by layer", 0, 0, network.reason))
        as_given = work._replace(channels_last=False)  # code that cannot be traced may want views of numbers
        return _layer_by_layer("", model, as_given, work.rows, done)
    deployed = work.emitted(network, work.rows, keep)
    work.rows.extend(_taken_apart(model, deployed, [row.name for row in work.rows if row.layer]))
    return deployed


def _taken_apart(model: nn.Module, deployed: PackedGraph, told: list[str]) -> list[Row]:
    """What became of tensors of modules that the graph does not call by themselves."""
    rows = []
    kept = {tensor.data_ptr() for tensor in deployed.buffers(recurse=False)}  # under names that were free
    for name, module in model.named_modules():
        if any(name == other or not other or name.startswith(f"{other}.") for other in told):
            continue
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        left = {_dotted(name, tensor): value for tensor, value in own if _dotted(name, tensor) not in told}
        if left:
            before = sum(tensor.nbytes for tensor in left.values())
            after = sum(tensor.nbytes for tensor in left.values() if tensor.data_ptr() in kept)
            rows.append(Row(name, describe(module), "taken apart, or not called", before, after))
    return rows


def _layer_by_layer(
    name: str, module: nn.Module, work: _Work, rows: list[Row], done: dict[nn.Module, nn.Module]
) -> nn.Module:
    """``module`` with each binary layer in it replaced. ``done`` has the modules met before."""
    if module in done:
        return done[module]
    done[module] = module
    if is_binary(module):
        network = captured(module, ())
        assert not isinstance(network, Untraced)
        own: list[Row] = []
        graph = work.emitted(network, own, lambda _name, kept, _rows: kept)
        rows += [replace(row, name=name) for row in own]
        done[module] = graph[0] if work.channels_last and len(graph.calls) == 1 else graph
        return done[module]
    for child, part in module._modules.items():
        if part is not None:
            module._modules[child] = _layer_by_layer(_dotted(name, child), part, work, rows, done)
    own_bytes = bytes_of(module, recurse=False)
    if own_bytes or not module._modules:
        rows.append(Row(name, describe(module), "as it was", own_bytes, own_bytes))
    return module


def _dotted(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def _check_signs(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Refuse modules that do not give the sign of every number that is tried."""
    tiny = torch.finfo(torch.float32).smallest_normal
    numbers = [0.0, -0.0, tiny, -tiny, tiny / 4, -tiny / 4, torch.inf, -torch.inf, torch.nan, 1.0, -1.0]
    tried = torch.cat(
        [torch.tensor(numbers, dtype=torch.float32), torch.randn(53, dtype=torch.float32)]
    ).reshape(1, 4, 4, 4)
    expected = torch.where(tried >= 0, 1.0, -1.0).float()
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            given = module(tried.clone())
            if not isinstance(given, Tensor) or given.shape != tried.shape or (given != expected).any():
                wrong = tried[given != expected][0] if isinstance(given, Tensor) else "an image"
                raise ValueError(
                    f"deploy: {name}, of signs, must give +1 where x >= 0 and else -1, but not for {wrong}"
                )


def _deviation(trained: nn.Module, deployed: nn.Module, example: Any, channels_last: bool) -> float:
    """How far the two models' results for the example are apart."""
    given = example if isinstance(example, tuple) else (example,)
    expected = None
    if channels_last:
        try:
            expected = trained.to(memory_format=torch.channels_last)(*tree_map(with_channels_last, given))
        except RuntimeError:  # of a view that wants the numbers of a channel side by side
            trained = trained.to(memory_format=torch.contiguous_format)
    return _difference(trained(*given) if expected is None else expected, deployed(*given))


def _difference(expected: Any, given: Any) -> float:
    """The largest difference between tensors in the same places of two trees."""
    pairs = [
        (one, other)
        for one, other in zip(tree_leaves(expected), tree_leaves(given), strict=True)
        if isinstance(one, Tensor)
    ]
    if not pairs:
        raise TypeError(
            "deploy: for an example, model must give a tensor, or tuples, lists or dicts of them, "
            f"got {type(expected).__name__}"
        )
    return float(torch.stack([_largest(one, other) for one, other in pairs]).max())


def _largest(one: Tensor, other: Tensor) -> Tensor:
    wide = torch.promote_types(one.dtype, torch.float64)
    difference = (one.to(wide) - other.to(wide)).abs().cpu()
    return difference.max() if difference.numel() else difference.sum()
