"""Devices, streams, events and graphs of the stand-in for CuPy: two devices; work is done at once."""

from __future__ import annotations

import time
import types


class Device:
    compute_capability = "90"
    attributes = types.MappingProxyType({"MultiProcessorCount": 2})
    _current = (0,)

    def __init__(self, id: int | None = None) -> None:
        self.id = Device._current[-1] if id is None else id

    def __enter__(self) -> Device:
        Device._current = (*Device._current, self.id)
        return self

    def __exit__(self, *error: object) -> None:
        Device._current = Device._current[:-1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id


class Graph:
    """Captured work, which here has been done already, and is not done again."""

    def launch(self, stream: Stream | None = None) -> None:
        pass


class Event:
    """A moment in a stream's work."""

    def record(self, stream: Stream | None = None) -> None:
        self._seconds = time.perf_counter()

    def synchronize(self) -> None:
        Stream._check_no_capture("synchronize")


class Stream:
    """A queue of work. Here all work is done at once, but while it is captured nothing may wait for it."""

    _capturing = False

    def __init__(self, *, non_blocking: bool = False) -> None:
        self.ptr = 0

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def begin_capture(self) -> None:
        Stream._capturing = True

    def end_capture(self) -> Graph:
        Stream._capturing = False
        return Graph()

    def synchronize(self) -> None:
        Stream._check_no_capture("synchronize")

    @staticmethod
    def _check_no_capture(what: str) -> None:
        if Stream._capturing:
            raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} waits for the device")


RUNTIME = types.SimpleNamespace(
    CUDARuntimeError=RuntimeError,
    driverGetVersion=lambda: 0,
    getDeviceCount=lambda: 2,
    runtimeGetVersion=lambda: 0,
    getDeviceProperties=lambda device: {"name": b"a CPU that stands in for a GPU"},
)
