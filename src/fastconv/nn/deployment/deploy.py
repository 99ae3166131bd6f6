"""Turn a trained model into one that runs on packed bits."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fastconv.nn.deployment.chain import deploy_chain
from fastconv.nn.deployment.report import Report, Row, bytes_of, describe
from fastconv.nn.deployment.twins import is_binary
from fastconv.nn.sequential import PackedSequential, is_plain


def deploy(model: nn.Module, example: Tensor | None = None) -> tuple[nn.Module, Report]:
    """A copy of ``model`` for inference, whose binary layers hold packed words and run the kernels.

    In a :class:`torch.nn.Sequential`, and those that it calls itself, scale, bias, batch normalization and
    activations between a binary layer and the next sign are folded into integer comparisons, max-pooling
    included, and packed bits go from layer to layer. That is exact: a chain is folded only if, for every
    integer that the layer can give and in every channel, the comparison gives the sign that PyTorch computes
    on the model's device. What cannot be folded stays as it is.

    In other modules nothing is folded: binary layers are replaced one by one, and every Sequential inside
    keeps its length and its indices, since only the module's own code knows what it does with them.

    Parameters
    ----------
    model : Module
        In float32; it is not changed. The copy does what ``model.eval()`` does.
    example : tensor, optional
        An input. Both models are run on it, and the report says how far they differ: the largest difference
        of any tensor among what they give, be it one or tuples, lists and dicts of them.

    Returns
    -------
    deployed : Module
        A flat PackedSequential if ``model`` is a chain.
    report : Report
        What became of each module, with bytes before and after.

    Raises
    ------
    TypeError
        If ``model`` is not a Module, a binary layer is not of float32, or ``model`` gives no tensors for
        ``example``.

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
    for name, module in model.named_modules():
        if is_binary(module) and module.weight.dtype != torch.float32:
            raise TypeError(
                f"deploy: binary layers must be in float32, got {module.weight.dtype} in "
                f"{name or 'the model'}; use model.float()"
            )
    rows: list[Row] = []
    # tensors of inference mode count no changes, without which kernels keep no layout of the words
    with torch.inference_mode(False), torch.no_grad():
        trained = copy.deepcopy(model).eval().requires_grad_(False)
        deployed = _deployed(copy.deepcopy(trained), rows).eval()
        deviation = None if example is None else _deviation(trained(example), deployed(example))
    return deployed, Report(tuple(rows), deviation)


def _deployed(model: nn.Module, rows: list[Row]) -> nn.Module:
    """``model`` deployed: as a chain, or child by child."""
    done: dict[nn.Module, nn.Module] = {}

    def keep(name: str, module: nn.Module) -> nn.Module:
        return _one_by_one(name, module, rows, done)

    if _is_chain(model):
        return PackedSequential(*deploy_chain(_flat("", model), rows, keep))
    return keep("", model)


def _one_by_one(name: str, module: nn.Module, rows: list[Row], done: dict[nn.Module, nn.Module]) -> nn.Module:
    """``module`` with each binary layer in it replaced. ``done`` has the modules met before."""

    def keep(name: str, module: nn.Module) -> nn.Module:
        return _one_by_one(name, module, rows, done)

    if module in done:
        return done[module]
    done[module] = module
    if is_binary(module):
        (done[module],) = deploy_chain([(name, module)], rows, keep)
        return done[module]
    for child, part in module._modules.items():
        if part is not None:
            module._modules[child] = keep(_dotted(name, child), part)
    own = bytes_of(module, recurse=False)
    if own or not module._modules:
        rows.append(Row(name, describe(module), "as it was", own, own))
    return module


def _is_chain(module: nn.Module) -> bool:
    """Whether ``module`` does nothing but call its children in turn."""
    calls = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    return calls and is_plain(module)


def _flat(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that a chain calls in turn, those of chains within it too."""
    if not _is_chain(module):
        return [(name, module)]
    parts = [_flat(_dotted(name, child), part) for child, part in module._modules.items() if part is not None]
    return [named for part in parts for named in part]


def _dotted(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def _deviation(expected: Any, given: Any) -> float:
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
