"""Read the official CIFAR-10 python archive, ``cifar-10-python.tar.gz``, trusting nothing in it.

The archive holds pickles, and unpickling can run any code. The unpickler here knows three names, those that
NumPy's arrays are pickled with, and replaces them by parts of its own that take nothing but bytes.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLDER = "cifar-10-batches-py"
TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = ("test_batch",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
LARGEST_MEMBER = 64 << 20
"""Bytes of a file in the archive. The official ones have 31 MB; a bomb is not unpacked."""


class Images(NamedTuple):
    """``pixels`` (N, 3, 32, 32) of uint8 and their ``labels`` (N,) of int64, 0 to 9."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load(path: Path) -> tuple[Images, Images]:
    """The training and the test images of an archive.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is not the archive it should be: which file in it is wrong, and how.
    """
    try:
        with tarfile.open(path) as archive:
            training, test = (
                [_images(f"{path}: {name}", _member(archive, path, name)) for name in names]
                for names in (TRAINING, TEST)
            )
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: no complete tar archive: {error}") from error
    return _joined(training), _joined(test)


def _member(archive: tarfile.TarFile, path: Path, name: str) -> bytes:
    try:
        member = archive.getmember(f"{FOLDER}/{name}")
    except KeyError:
        raise ValueError(f"{path}: holds no {FOLDER}/{name}; is it CIFAR-10's python version?") from None
    stream = archive.extractfile(member) if member.isfile() else None
    if stream is None or member.size > LARGEST_MEMBER:
        raise ValueError(f"{path}: {name} must be a file of at most {LARGEST_MEMBER} bytes")
    return stream.read()


def _images(where: str, pickled: bytes) -> Images:
    try:
        batch = _Unpickler(io.BytesIO(pickled), encoding="bytes").load()
    except Exception as error:  # bytes that are no pickle fail in every way there is
        raise ValueError(f"{where}: cannot be unpickled: {error}") from error
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise ValueError(f"{where}: must hold a dict with b'data' and b'labels'")
    pixels, labels = batch[b"data"], batch[b"labels"]
    pixels = pixels.values if isinstance(pixels, _PickledArray) else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != prod(SHAPE):
        got = "no array of bytes" if pixels is None else f"shape {pixels.shape}"
        raise ValueError(f"{where}: b'data' must be an array of uint8 (N, {prod(SHAPE)}), got {got}")
    known = range(len(CLASSES))
    if not isinstance(labels, list) or not all(type(label) is int and label in known for label in labels):
        raise ValueError(f"{where}: b'labels' must be a list of numbers from 0 to {len(CLASSES) - 1}")
    if len(labels) != len(pixels):
        raise ValueError(f"{where}: holds {len(pixels)} images and {len(labels)} labels")
    return Images(pixels.reshape(-1, *SHAPE), np.array(labels, np.int64))


def _joined(batches: list[Images]) -> Images:
    pixels, labels = zip(*batches, strict=True)
    return Images(np.concatenate(pixels), np.concatenate(labels))


class _PickledArray:
    """Takes the state of a pickled array of uint8, and makes the array itself."""

    values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        if not isinstance(dtype, _PickledType) or dtype.name not in (b"u1", "u1") or type(raw) is not bytes:
            raise pickle.UnpicklingError("arrays must be of uint8")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _PickledType:
    """Stands for the dtype of a pickled array."""

    def __init__(self, name: Any, *options: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like, which bytes do not have."""


def _new_array(*options: Any) -> _PickledArray:
    return _PickledArray()


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledType,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in it")
        return _KNOWN[module, name]
