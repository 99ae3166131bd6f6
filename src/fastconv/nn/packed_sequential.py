"""Deployed modules in a row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from fastconv._dispatch import Array
from fastconv.adapters.torch_tensors import placed, to_tensor
from fastconv.nn._fold import is_plain
from fastconv.nn._lent import lent
from fastconv.nn.packed_layers import PackedLayer
from fastconv.nn.packed_signs import PackedMaxPool2d, PackSigns

WORDS = (torch.uint64, np.dtype(np.uint64))


class PackedSequential(nn.Sequential):
    """Modules called in turn, as in :class:`torch.nn.Sequential`.

    Those that follow one another on packed bits pass arrays of NumPy or CuPy, without an operator of PyTorch
    for each: for small images those take as long as the kernels. A compiler, or whatever else follows
    operators, sees each of them; so do hooks.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What the last module gives."""
        if type(x) is not Tensor or torch.compiler.is_compiling() or _get_current_dispatch_mode():
            return super().forward(x)
        array: Array | None = None  # in the place of x
        with placed(x.device):
            for module in self:
                if _takes_bits(module) and (x if array is None else array).dtype in WORDS:
                    array = module.on_array(lent(x) if array is None else array)
                    continue
                x, array = (x if array is None else to_tensor(array)), None
                if type(module) is PackSigns and is_plain(module):
                    array = module.on_array(lent(x))
                else:
                    x = module(x)
        return x if array is None else to_tensor(array)


def _takes_bits(module: nn.Module) -> bool:
    packed = isinstance(module, PackedLayer) and module.takes_words
    return (packed or isinstance(module, PackedMaxPool2d)) and is_plain(module)
