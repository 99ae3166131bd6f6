"""The same operation always as the same module, however the model's code spells it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from fastconv.nn.deployment.report import bytes_of, describe
from fastconv.nn.pointwise import Scale, Shift, StrictSign
from fastconv.nn.signs import Sign

ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
IDLE_METHODS = ("detach", "clone")
IMAGE_AXES = 3


def normalized(network: fx.GraphModule, signs: tuple[type[nn.Module], ...]) -> None:
    """Put modules in the place of functions and methods, where there are such, and nothing in the place of
    what does nothing in eval mode."""
    for at, node in enumerate([*network.graph.nodes]):
        node.meta["at"] = at
        node.meta["name"] = node.name
        if node.op == "call_module":
            module = network.get_submodule(str(node.target))
            node.meta.update(name=node.target, before=bytes_of(module), layer=describe(module))
        if node.op == "call_module" and isinstance(network.get_submodule(node.target), signs):
            _put(network, node, node.args[0], Sign())
        elif node.op in ("call_function", "call_method"):
            _normalize(network, node)
    network.graph.eliminate_dead_code()


def module_of(network: fx.GraphModule, node: Any) -> Any:
    """The module that a node calls, if it calls one with nothing but a value."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    if node.kwargs or len(node.args) != 1 or not isinstance(node.args[0], fx.Node):
        return None
    return network.get_submodule(str(node.target))


def is_addition(node: fx.Node) -> bool:
    """Whether a node adds two values."""
    plain = node.op in ("call_function", "call_method") and node.target in ADDITIONS and not node.kwargs
    return plain and len(node.args) == 2 and all(isinstance(part, fx.Node) for part in node.args)


def is_concatenation(node: fx.Node) -> bool:
    """Whether a node joins channels of values."""
    if node.op != "call_function" or node.target not in (torch.cat, torch.concat):
        return False
    given = dict(zip(("tensors", "dim"), node.args, strict=False)) | node.kwargs
    return given.get("dim", 0) == 1 and isinstance(given.get("tensors"), (list, tuple))


def parts_of(node: fx.Node) -> list[fx.Node]:
    """What a concatenation joins."""
    return [*(node.args[0] if node.args else node.kwargs["tensors"])]


def _normalize(network: fx.GraphModule, node: fx.Node) -> None:
    if node.target in IDLE_METHODS:
        node.replace_all_uses_with(node.args[0])
        return
    if node.target == "view" and not any(isinstance(size, torch.dtype) for size in node.args):
        node.target = "reshape"  # which gives the same of numbers in any layout
    sign = _sign(node, operator.ge, torch.ge, "ge")
    if sign is not None:
        _put(network, node, sign, Sign())
        return
    strict = _sign(node, operator.gt, torch.gt, "gt")
    if strict is not None:
        _put(network, node, strict, StrictSign())
        return
    found = _per_channel(network, node) or _by_table(network, node)
    if found is not None:
        _put(network, node, *found)


def _put(network: fx.GraphModule, node: fx.Node, x: Any, module: nn.Module) -> None:
    """A call of ``module`` on ``x`` in the place of ``node``."""
    name = node.name
    while hasattr(network, name):
        name += "_"
    network.add_submodule(name, module.eval())
    with network.graph.inserting_before(node):
        new = network.graph.call_module(name, (x,))
    new.meta.update(node.meta)
    node.replace_all_uses_with(new)
    network.graph.erase_node(node)


def _sign(node: fx.Node, *compare: Any) -> fx.Node | None:
    """The value whose sign a node takes, by ``where(x >= 0, 1, -1)`` or ``2 * (x >= 0) - 1``, or with
    another comparison."""
    if node.kwargs:
        return None
    if node.target is torch.where and len(node.args) == 3:
        x = _compared(node.args[0], *compare)
        return x if [_float(part, x) for part in node.args[1:]] == [1, -1] else None
    if node.target in (operator.sub, torch.sub, "sub") and node.args[1:] == (1,):
        double = node.args[0]
        if isinstance(double, fx.Node) and double.target in (operator.mul, torch.mul, "mul"):
            bits = [part for part in double.args if isinstance(part, fx.Node)]
            if len(bits) == 1 and 2 in double.args:
                return _compared(_uncast(bits[0]), *compare)
    return None


def _float(value: Any, x: fx.Node | None) -> float | None:
    """The one number that a value is everywhere: a float, or ones like ``x``, or minus that."""
    if isinstance(value, fx.Node):
        if value.target is torch.ones_like and value.args == (x,) and not value.kwargs:
            return 1.0
        if value.target in (operator.neg, torch.neg, "neg"):
            number = _float(value.args[0], x)
            return None if number is None else -number
    return value if type(value) is float else None


def _compared(node: Any, *targets: Any) -> fx.Node | None:
    """x of a node that is x >= 0, or whatever ``targets`` say."""
    fits = isinstance(node, fx.Node) and node.target in targets and node.args[1:] == (0,)
    return node.args[0] if fits else None


def _uncast(node: fx.Node) -> Any:
    """What is made float32 by a node; None if it makes nothing of the sort."""
    casts = node.target == "float" or (node.target == "to" and node.args[1:] == (torch.float32,))
    return node.args[0] if casts else None


def _per_channel(network: fx.GraphModule, node: fx.Node) -> tuple[Any, nn.Module] | None:
    """A value plus, minus or times a tensor of the model that has one number for each channel."""
    kinds = {
        operator.sub: "sub",
        torch.sub: "sub",
        "sub": "sub",
        operator.mul: "mul",
        torch.mul: "mul",
        "mul": "mul",
    }
    kind = "add" if node.target in ADDITIONS else kinds.get(node.target)
    if kind is None or len(node.args) != 2 or node.kwargs:
        return None
    x, other = node.args
    if kind != "sub" and _constant(network, x) is not None:
        x, other = other, x
    numbers = _constant(network, other)
    if numbers is None or not isinstance(x, fx.Node) or numbers.dtype != torch.float32:
        return None
    image = numbers.dim() >= IMAGE_AXES and numbers.shape[-2:] == (1, 1)
    channels = numbers.numel()
    if not image or numbers.shape[-IMAGE_AXES] != channels or channels == 1:
        return None
    module = Scale(channels) if kind == "mul" else Shift(channels)
    flat = numbers.detach().reshape(-1).clone()
    path = str(_attribute(other).target)
    owner = path.rpartition(".")[0]
    layer = network.meta["kinds"].get(owner, "tensor") if owner else "tensor"
    node.meta.update(name=path, before=numbers.nbytes, layer=f"{layer}({channels})")
    if isinstance(module, Scale):
        module.scale = flat
    else:
        module.shift = -flat if kind == "sub" else flat
    return x, module


def _constant(network: fx.GraphModule, node: Any) -> Tensor | None:
    """A tensor of the model, as it is or expanded to the shape of a value."""
    node = _attribute(node)
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    constant = operator.attrgetter(str(node.target))(network)
    return constant if isinstance(constant, Tensor) else None


def _attribute(node: Any) -> Any:
    """The node that gets a tensor of the model, whether or not that is expanded to the shape of a value."""
    return node.args[0] if isinstance(node, fx.Node) and node.target == "expand_as" else node


def _by_table(network: fx.GraphModule, node: fx.Node) -> tuple[Any, nn.Module] | None:
    """A function or method that is a module of PyTorch with constants."""
    make = TABLE.get(node.target)
    if make is None or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    try:
        module = make(network, *node.args[1:], **node.kwargs)
    except (TypeError, ValueError):  # it was given something that the module does not take
        return None
    return None if module is None else (node.args[0], module)


def _hardtanh(_: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    return nn.Hardtanh(min_val, max_val)


def _clamp(_: Any, min: Any = None, max: Any = None) -> Any:
    if max is None and type(min) in (int, float) and min == 0:
        return nn.ReLU()
    numbers = type(min) in (int, float) and type(max) in (int, float)
    return nn.Hardtanh(min, max) if numbers and min < max else None


def _prelu(network: fx.GraphModule, weight: Any) -> Any:
    numbers = _constant(network, weight)
    if numbers is None:
        return None
    module = nn.PReLU(numbers.numel())
    module.weight.data = numbers.detach().clone()
    return module.requires_grad_(False)


def _flatten(_: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    return nn.Flatten() if (start_dim, end_dim) == (1, -1) else None


def _max_pool(
    _: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    return None if return_indices else nn.MaxPool2d(kernel_size, stride, padding, dilation, False, ceil_mode)


def _enlarge(
    _: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> Any:
    whole = type(scale_factor) in (int, float) and scale_factor == int(scale_factor)
    return nn.Upsample(scale_factor=scale_factor) if whole and size is None and mode == "nearest" else None


def _dropout(_: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    return None if training else nn.Identity()


def _without_constants(kind: type[nn.Module]) -> Callable[..., Any]:
    def make(_: Any, inplace: bool = False) -> Any:
        return kind()

    return make


def _leaky_relu(_: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    return nn.LeakyReLU(negative_slope)


TABLE: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((torch.relu, functional.relu, "relu", "relu_"), _without_constants(nn.ReLU)),
    functional.relu6: _without_constants(nn.ReLU6),
    functional.hardtanh: _hardtanh,
    **dict.fromkeys((torch.clamp, "clamp", "clamp_", torch.clip), _clamp),
    functional.leaky_relu: _leaky_relu,
    **dict.fromkeys((functional.prelu, torch.prelu), _prelu),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys((functional.max_pool2d, torch.max_pool2d), _max_pool),
    functional.avg_pool2d: lambda _, *sizes, **options: nn.AvgPool2d(*sizes, **options),
    functional.adaptive_avg_pool2d: lambda _, output_size: nn.AdaptiveAvgPool2d(output_size),
    functional.interpolate: _enlarge,
    **dict.fromkeys((functional.dropout, functional.dropout2d), _dropout),
}
