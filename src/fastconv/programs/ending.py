"""How a program ends: its work done, by a signal, or because nobody reads what it prints."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

SIGNALS = {
    getattr(signal, name): word
    for name, word in (("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up"))
    if hasattr(signal, name)
}
"""The signals that ask a program to end, and what it says then."""

CANNOT = 2
"""The exit status of what cannot be done."""

BROKEN_PIPE = 128 + 13
"""The exit status of those whose reader has gone, as a shell gives it to the programs that it knows."""

_received: list[int] = []
"""Signals since :func:`run` began. Some libraries swallow the exception that a signal raises."""


class CannotError(Exception):
    """What was asked for cannot be done, for the reason that is its text."""


def begin(name: str) -> None:
    """From here on, a signal ends this process in one line.

    For the first line of a program, before it imports what takes long; :func:`run` then takes over.
    """
    for number in _heard():
        signal.signal(number, partial(_end, name))


def _heard() -> list[signal.Signals]:
    """The signals whose handlers can be set here, and that our caller does not want ignored."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]


def _end(name: str, number: int, frame: FrameType | None) -> NoReturn:
    with suppress(OSError):
        os.write(2, f"{name}: {SIGNALS[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)


def run(name: str, command: Callable[[], int]) -> int:
    """The exit status of ``command``, and one line of text where that is all there is to say.

    A signal raises KeyboardInterrupt in ``command``, which may catch it, report what there is, and raise it
    again with a text that follows "interrupted". The status is then 128 and the signal's number.
    :class:`CannotError` becomes its text and status 2, a reader who has gone becomes silence.

    Parameters
    ----------
    name : str
        Of the program, before each message.
    command : callable
        Its work; it returns an exit status.

    Raises
    ------
    SystemExit
        If ``command`` does, as argparse does.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ and ✗ shows "?"
    try:
        with _signals_raise():
            return _ended(command)
    except KeyboardInterrupt as interrupt:
        return _stopped(name, str(interrupt))
    except CannotError as reason:
        return _last_words(f"{name}: {reason}", CANNOT)
    except BrokenPipeError:
        return _last_words("", BROKEN_PIPE)
    except Exception:
        if not _received:
            raise
        return _stopped(name)  # what a library made of KeyboardInterrupt


def _ended(command: Callable[[], int]) -> int:
    try:
        status = command()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # so rich ends
            raise end.__context__ from None
        flush()
        raise
    flush()
    return status


def _stopped(name: str, what: str = "") -> int:
    number = _received[0] if _received else signal.SIGINT
    return _last_words(f"{name}: {SIGNALS[signal.Signals(number)]} {what}".rstrip(), 128 + number)


def _last_words(text: str, status: int) -> int:
    """Say ``text``; streams that cannot be written to then lead nowhere, or Python would complain of them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                if stream is sys.stderr and text:
                    tell(text)
                stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


@contextmanager
def _signals_raise() -> Iterator[None]:
    _received.clear()
    hook, handlers = sys.unraisablehook, {}
    sys.unraisablehook = partial(_complain, hook)
    try:
        for number in _heard():
            handlers[number] = signal.signal(number, _raise)
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt


def _complain(hook: Callable[[Any], Any], unraisable: Any) -> None:
    if not (_received and issubclass(unraisable.exc_type, KeyboardInterrupt)):
        hook(unraisable)


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if a signal has come: the exception that it raised may have been swallowed."""
    if _received:
        raise KeyboardInterrupt


def tell(text: str) -> None:
    """A line on standard error, at once; nowhere, if that is closed."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line, or several, on standard output, at once. Errors are those of :func:`flush`."""
    with said_of("standard output"):
        print(text)
    flush()


def flush() -> None:
    """Hand over what was printed.

    Raises
    ------
    BrokenPipeError
        If the reader has gone.
    CannotError
        If it cannot be written, say because a disk is full.
    """
    with said_of("standard output"):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()


@contextmanager
def said_of(file: str) -> Iterator[None]:
    """Errors of the system while ``file`` is written, as :class:`CannotError`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from error
        raise CannotError(f"cannot write {file}: {error.strerror or error}") from error
