"""Turn a trained model into one that runs on packed bits."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fastconv.nn._chain import deploy_chain
from fastconv.nn._convert import is_binary
from fastconv.nn._fold import is_plain
from fastconv.nn._report import Report, Row, bytes_of, describe


def deploy(model: nn.Module, example: Tensor | None = None) -> tuple[nn.Module, Report]:
    """A copy of ``model`` for inference, whose binary layers hold packed words and run the kernels.

    In chains of :class:`torch.nn.Sequential`, nested ones too, scale, bias, batch normalization and
    activations between a binary layer and the next sign are folded into integer comparisons, max-pooling
    included, and packed bits go from layer to layer. That is exact: a chain is folded only if, for every
    integer that the layer can give and in every channel, the comparison gives the sign that PyTorch computes
    on the model's device. What cannot be folded stays as it is. In other modules, binary layers are replaced
    one by one.

    Parameters
    ----------
    model : Module
        In float32; it is not changed. The copy does what ``model.eval()`` does.
    example : tensor, optional
        An input. Both models are run on it, and the report says how far they differ.

    Returns
    -------
    deployed : Module
        A flat Sequential if ``model`` is a chain.
    report : Report
        What became of each module, with bytes before and after.

    Raises
    ------
    TypeError
        If ``model`` is not a Module, or a binary layer is not of float32.

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
        deployed = _deployed("", copy.deepcopy(trained), rows, {}).eval()
        deviation = None if example is None else _largest(trained(example) - deployed(example))
    return deployed, Report(tuple(rows), deviation)


def _deployed(name: str, module: nn.Module, rows: list[Row], done: dict[nn.Module, nn.Module]) -> nn.Module:
    """``module`` deployed: as a chain, or child by child. ``done`` has those met before."""
    if module in done:
        return done[module]
    done[module] = module

    def keep(name: str, module: nn.Module) -> nn.Module:
        return _deployed(name, module, rows, done)

    if _is_chain(module) and is_plain(module):
        done[module] = nn.Sequential(*deploy_chain(_flat(name, module), rows, keep))
    elif is_binary(module):
        (done[module],) = deploy_chain([(name, module)], rows, keep)
    else:
        for child, part in module._modules.items():
            if part is not None:
                module._modules[child] = keep(_dotted(name, child), part)
        own = bytes_of(module, recurse=False)
        if own or not module._modules:
            rows.append(Row(name, describe(module), "as it was", own, own))
    return done[module]


def _is_chain(module: nn.Module) -> bool:
    """Whether ``module`` does nothing but call its children in turn."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _flat(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that a chain calls in turn, those of chains within it too."""
    if not (_is_chain(module) and is_plain(module)):
        return [(name, module)]
    parts = [_flat(_dotted(name, child), part) for child, part in module._modules.items() if part is not None]
    return [named for part in parts for named in part]


def _dotted(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max()) if difference.numel() else 0.0
