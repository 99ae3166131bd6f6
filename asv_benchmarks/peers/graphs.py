"""GPU time of calls: their CUDA graphs replayed in turn.

A graph replays what a call launched, without Python, so that its time is the GPU's alone; it is read from
events of the GPU.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from peers import libraries
from peers.table import Settings

CALLS_OF_A_GRAPH = 10
"""One launch of a graph costs a few microseconds: it is shared by so many calls."""
ROUNDS, QUICK_ROUNDS = 30, 1


class TorchCall:
    """A call of PyTorch on the GPU, whose graphs are PyTorch's own."""

    def __init__(self, call: libraries.Call) -> None:
        self.call = call

    def __call__(self) -> Any:
        return self.call()


def seconds_by_replay(calls: Sequence[libraries.Call], settings: Settings, rest: float) -> list[float]:
    """Median GPU time of each call; their graphs take turns. No side leaves threads that need a ``rest``."""
    replays = [_torch_replay(call) if isinstance(call, TorchCall) else _cupy_replay(call) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(settings.pick(ROUNDS, QUICK_ROUNDS)):
        for replay, taken in zip(replays, times, strict=True):
            taken.append(replay())
    return [statistics.median(taken) for taken in times]


def _cupy_replay(call: libraries.Call) -> Callable[[], float]:
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        call()  # compiles, and leaves memory of the right sizes in CuPy's pool
        stream.begin_capture()
        for _ in range(CALLS_OF_A_GRAPH):
            call()
        graph = stream.end_capture()

    def replay() -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record(stream)
        graph.launch(stream)
        end.record(stream)
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(begin, end)) / 1e3 / CALLS_OF_A_GRAPH

    replay()
    return replay


def _torch_replay(call: libraries.Call) -> Callable[[], float]:
    cuda = libraries.torch().cuda
    stream = cuda.Stream()
    with cuda.stream(stream):
        call()  # chooses an algorithm
    graph = cuda.CUDAGraph()
    with cuda.graph(graph, stream=stream):
        for _ in range(CALLS_OF_A_GRAPH):
            call()

    def replay() -> float:
        begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        with cuda.stream(stream):
            begin.record()
            graph.replay()
            end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / CALLS_OF_A_GRAPH

    replay()
    return replay
