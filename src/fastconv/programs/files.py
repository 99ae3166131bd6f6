"""Files that a program writes: "-" is standard output; others are written whole or not at all."""

from __future__ import annotations

import argparse
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastconv.programs.ending import CannotError, flush, said_of

STANDARD_OUTPUT = "-"


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``, which means the same in all of our programs."""
    parser.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const=STANDARD_OUTPUT,
        type=writable,
        help='write JSON; without FILE, or if that is "-", to standard output in place of the table',
    )


def writable(file: str) -> str:
    """``file``, once it has been tried whether it can be written: an argument's ``type``.

    Raises
    ------
    argparse.ArgumentTypeError
        If it cannot.
    """
    try:
        check(file)
    except CannotError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from reason
    return STANDARD_OUTPUT if _is_standard_output(file) else file


def folder(name: str) -> Path:
    """The path of a folder that will be made where it is missing: an argument's ``type``."""
    if name in (STANDARD_OUTPUT, ""):
        raise argparse.ArgumentTypeError(f"a folder is needed, got {name!r}")
    return Path(name)


def check(file: str | os.PathLike[str]) -> None:
    """Raise :class:`CannotError` where :func:`write` would, before there is anything to write."""
    name = os.fspath(file)
    if name == STANDARD_OUTPUT:
        if sys.stdout is None:
            raise CannotError("standard output is closed")
        return
    with said_of(name):
        with suppress(FileNotFoundError):
            os.stat(name)  # names can be too long, and what should be a folder none
        if os.path.isdir(name):
            raise CannotError(f"cannot write {name}: it is a folder")
        if os.path.exists(name) and not os.access(name, os.W_OK):
            raise CannotError(f"cannot write {name}: permission denied")
        if not _is_special(name):
            neighbour = _neighbour(_followed(name))
            neighbour.open("xb").close()
            neighbour.unlink()


def write(file: str | os.PathLike[str], content: str | bytes) -> None:
    """Write ``content``, text as UTF-8, to ``file``: all of it, or what was there before stays.

    Parameters
    ----------
    file : path
        "-" is standard output. What is no regular file (a pipe, a device) is written to as it is.
    content : str or bytes

    Raises
    ------
    CannotError
        If it cannot be written.
    BrokenPipeError
        If it is a pipe whose reader has gone.
    """
    name = os.fspath(file)
    data = content.encode("utf-8") if isinstance(content, str) else content
    with said_of("standard output" if name == STANDARD_OUTPUT else name):
        if name == STANDARD_OUTPUT:
            _to_standard_output(data)
            return
        if _is_special(name):
            Path(name).write_bytes(data)
            return
        with replacing(name) as neighbour:
            neighbour.write_bytes(data)


@contextmanager
def replacing(file: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside ``file`` to write to: what is there at the end replaces ``file``, in one piece.

    Raises
    ------
    CannotError
        If that cannot be; there is then nothing new.
    """
    path = _followed(os.fspath(file))
    neighbour = _neighbour(path)
    try:
        with said_of(os.fspath(file)):
            yield neighbour
            if path.exists():
                neighbour.chmod(stat.S_IMODE(path.stat().st_mode))
            neighbour.replace(path)
    finally:
        with suppress(OSError):
            neighbour.unlink(missing_ok=True)


def _to_standard_output(data: bytes) -> None:
    if sys.stdout is None:
        raise CannotError("standard output is closed")
    flush()
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(data)
    else:
        sys.stdout.write(data.decode("utf-8"))
    flush()


def _is_standard_output(name: str) -> bool:
    """Whether ``name`` is another name of it, say /dev/stdout: a file under it must not be replaced."""
    with suppress(OSError, ValueError, AttributeError):
        return os.path.samestat(os.stat(name), os.fstat(sys.stdout.fileno()))
    return name == STANDARD_OUTPUT


def _followed(name: str) -> Path:
    """The file itself, where ``name`` is a link: that is replaced, and not the link."""
    return Path(os.path.realpath(name) if os.path.islink(name) else name)


def _is_special(name: str) -> bool:
    return os.path.exists(name) and not os.path.isfile(name)


def _neighbour(path: Path) -> Path:
    return path.with_name(f".fastconv-{secrets.token_hex(8)}")
