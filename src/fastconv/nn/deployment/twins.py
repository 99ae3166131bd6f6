"""What becomes of one module: which layers there are, what they can take, and their packed twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastconv.nn import operators
from fastconv.nn.binary_layer import BinaryLayer
from fastconv.nn.calls import PackedModule, is_plain
from fastconv.nn.deployment import reasons
from fastconv.nn.deployment.capture import acts_as
from fastconv.nn.deployment.fold import Folded, fold, is_channelwise
from fastconv.nn.deployment.fold_numbers import fold_numbers
from fastconv.nn.deployment.steps import Found
from fastconv.nn.gradients import per_filter
from fastconv.nn.layers import BinaryConv2d, BinaryLinear
from fastconv.nn.modules import PackedConv2d, PackedLayer, PackedLinear
from fastconv.nn.packing import PackSigns
from fastconv.nn.pointwise import Scale, Shift
from fastconv.nn.resizing import EnlargeSigns, PackedMaxPool2d
from fastconv.nn.signs import BinaryMaxPool2d, Sign


def is_binary(module: Any) -> bool:
    return acts_as(module, BinaryConv2d) or acts_as(module, BinaryLinear)


def is_sign(module: Any) -> bool:
    return acts_as(module, Sign)


def why_called(module: Any) -> str:
    """Why a layer that looks like one of ours, or like one that is a step, is called as it is."""
    if module is not None and not is_plain(module):
        return reasons.HOOKED
    for base in (BinaryConv2d, BinaryLinear, Sign):
        if isinstance(module, base) and not acts_as(module, base):
            return reasons.OVERRIDDEN.format(kind=type(module).__name__, base=base.__name__)
    return ""


def is_flatten(module: Any) -> bool:
    """Whether images become rows."""
    axes = (getattr(module, "start_dim", None), getattr(module, "end_dim", None))
    return type(module) is nn.Flatten and axes == (1, -1) and is_plain(module)


def takes_signs(layer: BinaryLayer) -> bool:
    """Whether the layer is one product of its weight's signs with its input's, which are all it looks at."""
    return layer.activation_bits == layer.weight_bits == 1 and layer.scale != "xnor"


def is_packable(layer: BinaryLayer) -> bool:
    """Whether there is a packed twin. K of several bits has none."""
    return layer.weight_bits == 1 or layer.scale != "xnor"


def pools_numbers(module: Any) -> bool:
    """Whether the largest number of each window is taken."""
    plain = type(module) is nn.MaxPool2d and is_plain(module)
    return plain and not (module.ceil_mode or module.return_indices) and module.dilation in (1, (1, 1))


def pools_signs(module: Any) -> bool:
    """Whether the largest sign of each window is taken."""
    return pools_numbers(module) or (type(module) is BinaryMaxPool2d and is_plain(module))


def enlarges(module: Any) -> bool:
    """Whether each number is repeated over a square of its own."""
    if type(module) is not nn.Upsample or not is_plain(module) or module.mode != "nearest":
        return False
    factors = module.scale_factor if isinstance(module.scale_factor, tuple) else (module.scale_factor,)
    return all(factor is not None and factor >= 1 and factor == int(factor) for factor in factors)


def output_length(module: nn.Module, length: int) -> int:
    """Channels, or features of rows, that leave ``module`` if ``length`` enter; 0 where nothing says so."""
    for size in ("out_channels", "out_features"):
        if isinstance(module, (nn.Conv2d, nn.Linear, BinaryLayer)) and hasattr(module, size):
            return int(getattr(module, size))
    for size in ("num_features", "channels"):
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, Shift, Scale)) and hasattr(module, size):
            return int(getattr(module, size))
    if isinstance(module, nn.PReLU) and module.num_parameters > 1:
        return int(module.num_parameters)
    keeps = is_channelwise(module, True) or is_channelwise(module, False) or is_sign(module)
    return length if keeps or pools_signs(module) or enlarges(module) else 0


def fold_into(layer: BinaryLayer, chain: Sequence[nn.Module]) -> Folded | None:
    """``chain``, the modules up to the next sign, as a comparison of the products of a layer, which takes
    signs; None if none is the same."""
    before, after = _around_pool(chain)
    _, (scale,) = layer.filters()

    def finish(y: Tensor) -> Tensor:
        y = y if scale is None else y * per_filter(scale, y.dim())
        return y if layer.bias is None else y + per_filter(layer.bias, y.dim())

    filters, terms = layer.weight.shape[0], layer.weight[0].numel()
    image = isinstance(layer, BinaryConv2d)
    return fold(finish, before, after, filters, image, terms, layer.weight.device)


class Packing(NamedTuple):
    """Signs of (v >= tau) xor flip, each channel of a number v with its own. ``inverted`` as of
    :class:`fastconv.nn.deployment.fold_numbers.Comparison`."""

    tau: Tensor
    flip: Tensor
    inverted: Tensor
    image: bool

    def split(self, sizes: list[int]) -> list[Packing]:
        """Of channels in turn."""
        parts = (tensor.split(sizes) for tensor in (self.tau, self.flip, self.inverted))
        return [Packing(tau, flip, inverted, self.image) for tau, flip, inverted in zip(*parts, strict=True)]

    def module(self) -> PackSigns:
        packed = PackSigns(len(self.tau), self.image, comparing=True)
        packed.tau, packed.flip = self.tau.clone(), self.flip.clone()
        return packed


def fold_before(chain: Sequence[nn.Module], channels: int, image: bool) -> Packing | None:
    """``chain``, the modules up to the next sign, as a comparison of the numbers that come in, pooling apart;
    None if none is the same."""
    before, after = _around_pool(chain)
    tensors = [tensor for module in chain for tensor in module.state_dict().values()]
    device = tensors[0].device if tensors else torch.device("cpu")
    folded = fold_numbers(before, after or (), channels, image, device)
    return None if folded is None else Packing(*folded, image)


def _around_pool(chain: Sequence[nn.Module]) -> tuple[list[nn.Module], list[nn.Module] | None]:
    """The modules before max-pooling and those after it; None after it if there is none."""
    pools = [at for at, module in enumerate(chain) if pools_numbers(module)]
    return ([*chain[: pools[0]]], [*chain[pools[0] + 1 :]]) if pools else ([*chain], None)


def pack_layer(
    layer: BinaryLayer,
    gives: Sequence[str],
    steps: Sequence[Found],
    bounds: tuple[Tensor, Tensor] | None,
    *,
    flattened: int | None,
    rows_only: bool,
) -> PackedLayer:
    """The layer on packed words.

    Parameters
    ----------
    gives, steps
        As of :class:`PackedLayer`; of several bits there are no steps.
    bounds : tau and flip, if signs are given
    flattened : int or None
        Channels of the image that comes in flattened, if it does.
    rows_only
        As of :class:`PackedLinear`.
    """
    words, scales = layer.filters()
    if flattened is not None:
        words = [_permuted(part, layer.weight.shape[1], flattened) for part in words]
    several = layer.activation_bits > 1 or layer.weight_bits > 1
    options: dict[str, Any] = {
        "gives": list(gives),
        "steps": [step.kind for step in steps],
        "activation_bits": layer.activation_bits,
        "weight_bits": layer.weight_bits,
        "scaled": several and scales[0] is not None,
        "biased": several and layer.bias is not None,
    }
    packed: PackedLayer
    if isinstance(layer, BinaryConv2d):
        packed = PackedConv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.sides,
            layer.dilation, layer.groups, layer.pad_value, **options,
        )  # fmt: skip
    else:
        packed = PackedLinear(layer.in_features, layer.out_features, **options, rows_only=rows_only)
    for bit, (part, scale) in enumerate(zip(words, scales, strict=True)):
        setattr(packed, f"words{bit}", part)
        if packed.scaled:
            setattr(packed, f"scale{bit}", scale.float().clone())
    if packed.biased:
        packed.bias = layer.bias.detach().clone()  # type: ignore[union-attr]
    rows = [row for step in steps for row in step.numbers]
    if rows:
        packed.constants = torch.stack(rows).float()
    if bounds is not None:
        packed.tau, packed.flip = (bound.clone() for bound in bounds)
    return packed


def pack_pool(pool: Any, channels: int, inverted: Tensor | None) -> PackedModule:
    """Max-pooling, or enlarging, on packed words, of channels that came ``inverted`` if any did."""
    if isinstance(pool, nn.Upsample):
        return EnlargeSigns(*map(int, _pair(pool.scale_factor)))
    inverting = inverted is not None and bool(inverted.any())
    if isinstance(pool, BinaryMaxPool2d):
        packed = PackedMaxPool2d(channels, pool.kernel_size, pool.stride, pool.sides, inverting)
    else:
        sizes = pool_sizes(pool)
        packed = PackedMaxPool2d(channels, sizes[:2], sizes[2:4], sizes[4:], inverting)
    if inverting:
        packed.inverted = operators.pack_signs(inverted, 0)
    return packed


def pool_sizes(pool: nn.MaxPool2d) -> list[int]:
    """Kernel and stride, rows and columns each; top, bottom, left, right."""
    kernel, stride, (rows, columns) = map(_pair, (pool.kernel_size, pool.stride, pool.padding))
    return [*kernel, *stride, rows, rows, columns, columns]


def along_axis_1(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm1d) or (isinstance(module, nn.PReLU) and module.num_parameters > 1)


def _permuted(words: Tensor, features: int, channels: int) -> Tensor:
    """Filters (O, 1, 1, w) whose columns go from the order C, H, W to H, W, C."""
    signs = operators.unpack_signs(words, features, torch.int8)
    moved = signs.unflatten(-1, (channels, -1)).movedim(-2, -1).flatten(-2)
    return operators.pack_signs(moved, 3)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
