"""The ways to run a network's float twin that ours stands beside, and how a model of PyTorch is called."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from peers import libraries, openvino_models
from peers.table import Array

FLOAT32, BFLOAT16 = "PyTorch float32, channels last", "PyTorch bfloat16, channels last"
COMPILED = "PyTorch bfloat16, torch.compile"
OPENVINO, OPENVINO16, INT8 = "OpenVINO float32", "OpenVINO bfloat16", "OpenVINO int8"
IMAGE_AXES = 4


class Twin:
    """A float network, and whatever was made of it so far: what does not hang on a batch is made once."""

    def __init__(self, model: Any, image: tuple[int, ...]) -> None:
        self.model, self.image = model, image
        self.known: dict[str, Any] = {}

    def call(self, peer: str, x: Array) -> libraries.Call | None:
        """A way to run the network on ``x``, None where what it takes is not installed."""
        if peer in (OPENVINO, OPENVINO16, INT8):
            return self._openvino(peer, x)
        if peer == FLOAT32:
            return call(self.model, x)
        model = self._once(BFLOAT16, self._in_bfloat16)
        bfloat16 = libraries.torch().bfloat16
        return _compiled(model, x, bfloat16) if peer == COMPILED else call(model, x, bfloat16)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.known:
            self.known[name] = make()
        return self.known[name]

    def _in_bfloat16(self) -> Any:
        return copy.deepcopy(self.model).to(libraries.torch().bfloat16)

    def _openvino(self, peer: str, x: Array) -> libraries.Call | None:
        if libraries.openvino() is None:
            return None
        model = self._once(OPENVINO, partial(openvino_models.converted, self.model, self.image))
        if peer == INT8:
            model = self._once(INT8, partial(openvino_models.quantized, model, self.image))
        precision = "f32" if peer == OPENVINO else "bf16"
        return None if model is None else openvino_models.call_of(model, x, precision)


def call(model: Any, x: Array, dtype: Any = None) -> libraries.Call:
    """A call of a model of PyTorch on images or rows, in its layout channels last, which gives an array.

    ``dtype`` is that of the model: float32, unless given.
    """
    torch = libraries.torch()
    given = torch.from_numpy(x)
    if given.ndim == IMAGE_AXES:
        given = given.contiguous(memory_format=torch.channels_last)
    given = given.to(dtype or torch.float32)

    def run() -> Any:
        with torch.inference_mode():
            return model(given).float().numpy()

    return run


def _compiled(model: Any, x: Array, dtype: Any) -> libraries.Call | None:
    """None where PyTorch finds no C++ compiler that works."""
    torch = libraries.torch()
    run = call(torch.compile(model, dynamic=False), x, dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
    except torch._dynamo.exc.BackendCompilerFailed:
        return None
    return run
