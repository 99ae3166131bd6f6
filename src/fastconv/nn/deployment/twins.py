"""What becomes of one module: which layers there are, what they can take, and their packed twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastconv.nn import operators
from fastconv.nn.binary_layer import BinaryLayer
from fastconv.nn.deployment.fold import Folded, fold, is_channelwise
from fastconv.nn.deployment.fold_numbers import NORMS, Comparison, fold_numbers
from fastconv.nn.gradients import per_filter
from fastconv.nn.layers import BinaryConv2d, BinaryLinear
from fastconv.nn.modules import PackedConv2d, PackedLayer, PackedLinear, PackedMaxPool2d
from fastconv.nn.packing import PackSigns
from fastconv.nn.sequential import is_plain
from fastconv.nn.signs import BinaryMaxPool2d, Sign


def is_binary(module: nn.Module) -> bool:
    return type(module) in (BinaryConv2d, BinaryLinear) and is_plain(module)


def is_sign(module: nn.Module) -> bool:
    return type(module) is Sign and is_plain(module)


def is_flatten(module: nn.Module) -> bool:
    """Whether images become rows."""
    axes = (getattr(module, "start_dim", None), getattr(module, "end_dim", None))
    return type(module) is nn.Flatten and axes == (1, -1) and is_plain(module)


def takes_signs(layer: BinaryLayer) -> bool:
    """Whether the layer is one product of its weight's signs with its input's, which are all it looks at."""
    return layer.activation_bits == layer.weight_bits == 1 and layer.scale != "xnor"


def is_packable(layer: BinaryLayer) -> bool:
    """Whether there is a packed twin. K of several bits has none."""
    return layer.weight_bits == 1 or layer.scale != "xnor"


def pools_numbers(module: nn.Module) -> bool:
    """Whether the largest number of each window is taken."""
    plain = type(module) is nn.MaxPool2d and is_plain(module)
    return plain and not (module.ceil_mode or module.return_indices) and module.dilation in (1, (1, 1))


def pools_signs(module: nn.Module) -> bool:
    """Whether the largest sign of each window is taken."""
    return pools_numbers(module) or (type(module) is BinaryMaxPool2d and is_plain(module))


def output_length(module: nn.Module, length: int) -> int:
    """Channels, or features of rows, that leave ``module`` if ``length`` enter; 0 where nothing says so."""
    for size in ("out_channels", "out_features"):
        if isinstance(module, (nn.Conv2d, nn.Linear, BinaryLayer)) and hasattr(module, size):
            return int(getattr(module, size))
    keeps = is_channelwise(module, True) or is_channelwise(module, False) or is_sign(module)
    return length if keeps or pools_signs(module) else 0


def fold_into(layer: BinaryLayer, chain: Sequence[nn.Module]) -> Folded | None:
    """``chain``, the modules up to the next sign, as a comparison of the layer's products; None if none is
    the same."""
    if not takes_signs(layer):
        return None
    before, after = _around_pool(chain)
    _, (scale,) = layer.filters()

    def finish(y: Tensor) -> Tensor:
        y = y if scale is None else y * per_filter(scale, y.dim())
        return y if layer.bias is None else y + per_filter(layer.bias, y.dim())

    filters, terms = layer.weight.shape[0], layer.weight[0].numel()
    image = isinstance(layer, BinaryConv2d)
    return fold(finish, before, after, filters, image, terms, layer.weight.device)


def fold_before(chain: Sequence[nn.Module]) -> tuple[PackSigns, Comparison] | None:
    """``chain``, the modules up to the next sign, as a comparison of the numbers that come in, pooling apart;
    None if none is the same, or no batch normalization says how many channels there are."""
    norm = next((module for module in chain if isinstance(module, NORMS)), None)
    if norm is None:
        return None
    before, after = _around_pool(chain)
    image = isinstance(norm, nn.BatchNorm2d)
    device = norm.running_mean.device
    folded = fold_numbers(before, after or (), norm.num_features, image, device)
    if folded is None:
        return None
    packed = PackSigns(norm.num_features, image, comparing=True)
    packed.tau, packed.flip = folded.tau, folded.flip
    return packed, folded


def _around_pool(chain: Sequence[nn.Module]) -> tuple[list[nn.Module], list[nn.Module] | None]:
    """The modules before max-pooling and those after it, without the sign; None after it if there is none."""
    modules = [module for module in chain if not is_sign(module)]
    pools = [at for at, module in enumerate(modules) if pools_numbers(module)]
    return (modules[: pools[0]], modules[pools[0] + 1 :]) if pools else (modules, None)


def pack_layer(
    layer: BinaryLayer, folded: Folded | None, chain: Sequence[nn.Module], flattened: int | None
) -> PackedLayer:
    """The layer on packed words, ``chain`` folded into it if ``folded`` says how.

    ``flattened`` is the number of channels of the image that comes in flattened, if it does.
    """
    words, scales = layer.filters()
    if flattened is not None:
        words = [_permuted(part, layer.weight.shape[1], flattened) for part in words]
    options: dict[str, Any] = {
        "result": "signs" if folded else "numbers",
        "activation_bits": layer.activation_bits,
        "weight_bits": layer.weight_bits,
        "scaled": scales[0] is not None and not folded,
        "biased": layer.bias is not None and not folded,
        "by_window": layer.scale == "xnor",
    }
    packed: PackedLayer
    if isinstance(layer, BinaryConv2d):
        packed = PackedConv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.sides,
            layer.dilation, layer.groups, layer.pad_value, **options,
        )  # fmt: skip
    else:
        rows_only = folded is not None and any(_along_axis_1(module) for module in chain)
        packed = PackedLinear(layer.in_features, layer.out_features, **options, rows_only=rows_only)
    for bit, (part, scale) in enumerate(zip(words, scales, strict=True)):
        setattr(packed, f"words{bit}", part)
        if packed.scaled:
            setattr(packed, f"scale{bit}", scale.float().clone())
    if folded:
        packed.tau, packed.flip = folded.threshold.tau, folded.threshold.flip
    elif layer.bias is not None:
        packed.bias = layer.bias.detach().clone()
    return packed


def pack_pool(pool: nn.Module, channels: int, inverted: Tensor | None) -> PackedMaxPool2d:
    """Max-pooling on packed words, of channels that came ``inverted`` if any did."""
    inverting = inverted is not None and bool(inverted.any())
    if isinstance(pool, BinaryMaxPool2d):
        sizes = pool.kernel_size, pool.stride, pool.sides
    else:
        kernel, stride, (rows, columns) = map(_pair, (pool.kernel_size, pool.stride, pool.padding))
        sizes = kernel, stride, [rows, rows, columns, columns]
    packed = PackedMaxPool2d(channels, *sizes, inverting)
    if inverting:
        packed.inverted = operators.pack_signs(inverted, 0)
    return packed


def _along_axis_1(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm1d) or (isinstance(module, nn.PReLU) and module.num_parameters > 1)


def _permuted(words: Tensor, features: int, channels: int) -> Tensor:
    """Filters (O, 1, 1, w) whose columns go from the order C, H, W to H, W, C."""
    signs = operators.unpack_signs(words, features, torch.int8)
    moved = signs.unflatten(-1, (channels, -1)).movedim(-2, -1).flatten(-2)
    return operators.pack_signs(moved, 3)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
