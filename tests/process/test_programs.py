"""How programs end and speak: impossible numbers, signals, pipes, narrow lines, files that are whole."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import optional

import fastconv
from checkout import ROOT
from fastconv import cli
from fastconv.programs import files
from fastconv.programs.ending import CannotError
from fastconv.programs.files import check, replacing, writable, write
from fastconv.programs.tables import Entry, table
from peers import command as peers

FASTCONV = [sys.executable, "-m", "fastconv"]
PEERS = [sys.executable, str(ROOT / "asv_benchmarks" / "peers")]
LAUNCHER = [sys.executable, str(ROOT / "asv_benchmarks" / "launcher.py")]
MUTANTS = [sys.executable, str(ROOT / "tests" / "mutants")]
PATIENCE = 120

SIGNALS = {"SIGINT": (130, "interrupted"), "SIGTERM": (143, "terminated"), "SIGHUP": (129, "hung up")}
ONE_ROW = ["--quick", "--only", "^popcount, 16"]
SEVERAL_ROWS = ["--only", "^small calls|^popcount of", "--seconds", "0.001"]


def environment(*folders: str) -> dict[str, str]:
    """That of a program that is started anywhere, and imports from ``folders`` first."""
    paths = os.pathsep.join([*folders, str(Path(fastconv.__file__).parents[1])])
    return {**os.environ, "PYTHONUNBUFFERED": "", "PYTHONPATH": paths}


def finished(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment())


@contextmanager
def started(command: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(), **options}
    with subprocess.Popen(command, text=True, **given) as process:
        try:
            yield process
        finally:
            process.kill()


IMPOSSIBLE = [
    *(
        (peers.main, ["--quick", f"--seconds={n}"])
        for n in ["-1", "0", "-0.0", "nan", "inf", "-inf", "1e9", "1e999", "x"]
    ),
    *((peers.main, ["--quick", f"--largest={n}"]) for n in ("-1", "0", "19", "63", "1.5", "9" * 30, "")),
    (peers.main, ["--json", "--markdown", "-"]),
    (peers.main, ["--only", "("]),
    (peers.main, ["--only", "no such row"]),
    (cli.main, ["demo", "--output", "-"]),
    (cli.main, ["info", "--json", "/"]),
]


def status_of(main: Callable[[list[str]], int], arguments: list[str]) -> object:
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(("main", "arguments"), IMPOSSIBLE, ids=[" ".join(row[1]) for row in IMPOSSIBLE])
def test_what_cannot_be_meant_is_refused_before_any_work(main, arguments, capsys, monkeypatch):
    monkeypatch.setattr("peers.run.facts", lambda: 1 / 0)
    assert status_of(main, arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"(error|peers): .+\n$", err)


def test_a_fault_that_is_none_is_refused():
    done = finished([*MUTANTS, "no such fault"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mutants: no fault is called like no such fault\n"


@pytest.mark.parametrize(
    "option",
    [
        *(f"{option}={n}" for option in ("--epochs", "--rate") for n in ("0", "-1", "nan", "inf", "1e9")),
        f"--seed={2**64}",
        "--output=-",
    ],
)
def test_examples_refuse_impossible_numbers(option, monkeypatch, capsys):
    for part in ("torch", "safetensors", "sklearn", "matplotlib", "rich"):
        optional(part)
    monkeypatch.syspath_prepend(ROOT / "examples")
    for name, more in (("digits", []), ("shortcuts", []), ("cifar10", ["--data", "x"])):
        assert status_of(importlib.import_module(name).main, [*more, option]) == 2
        assert "error: argument" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_measurement_in_one_line_with_what_there_is(name, tmp_path):
    status, word = SIGNALS[name]
    file = tmp_path / "table.json"
    with started([*PEERS, *SEVERAL_ROWS, "--json", str(file)]) as process:
        said = [process.stderr.readline() for _ in range(4)]  # the machine, a row, another that ends it
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    progress = [line for line in err.splitlines() if not re.match(r" *\d+/\d+, \d+ s: ", line)]
    assert progress == [f"peers: {word}"]
    assert all(re.match(r" *\d+/\d+, \d+ s: ", line) for line in said)
    report = json.loads(file.read_text("utf-8"))
    assert report["lines"]
    assert "before the end" in report["facts"]["stopped"]
    for line in report["lines"]:
        assert line["what"] in out
    assert os.listdir(tmp_path) == ["table.json"]


@pytest.mark.parametrize("command", [[*FASTCONV, "demo"], PEERS, LAUNCHER], ids=["demo", "peers", "launcher"])
def test_an_interrupt_at_the_first_step_ends_in_one_line(command, tmp_path):
    optional("matplotlib")
    with started(command, cwd=tmp_path) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert re.match(r" *1/\d+, 0 s: ", first)
    assert process.returncode == 130
    assert re.fullmatch(r"( *\d+/\d+, .*\n)*[\w ]+: interrupted\n", err)
    assert not list(tmp_path.rglob("*.*"))


def test_an_interrupt_while_libraries_are_imported_ends_in_one_line(tmp_path):
    slow = "import time; print(flush=True); time.sleep(60)"
    (tmp_path / "numba.py").write_text(slow)
    for command in ([*FASTCONV, "info"], [*FASTCONV, "demo"], LAUNCHER):
        with started(command, env=environment(str(tmp_path))) as process:
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert re.fullmatch(r"[\w ]+: interrupted\n", err)


COMMANDS = """
import os, signal, sys, time
from fastconv.programs import ending

def swallowing():
    for swallowed in (True, False):
        ending.stop_if_asked()
        assert swallowed
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            pass
    return 0

def renaming():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    except KeyboardInterrupt as error:
        raise ImportError("KeyboardInterrupt: <EMPTY MESSAGE>") from error
    return 0

def asked():
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    time.sleep(10)

for number in ending.SIGNALS:
    signal.signal(number, signal.SIG_DFL)  # whatever runs the tests may ignore some
before = signal.getsignal(signal.SIGINT)
status = ending.run("any", globals()[sys.argv[1]])
assert signal.getsignal(signal.SIGINT) is before
sys.exit(status)
"""
"""In processes of their own: signals would meet whatever runs the tests."""


def ended(*arguments):
    """Status and errors of one of the COMMANDS."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *arguments], capture_output=True, text=True, timeout=PATIENCE
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["swallowing", "renaming"])
def test_an_interrupt_that_a_library_swallows_ends_the_next_step(command):
    assert ended(command) == (130, "any: interrupted\n")


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_has_its_status_and_its_word(name):
    status, word = SIGNALS[name]
    assert ended("asked", name) == (status, f"any: {word}\n")


def test_a_program_that_is_to_ignore_a_signal_does():
    with started(["sh", "-c", 'trap "" INT; exec "$@"', "sh", *FASTCONV, "info"]) as process:
        for _ in range(20):
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert "namespaces" in out


QUIET = {
    "info": [*FASTCONV, "info"],
    "info as JSON": [*FASTCONV, "info", "--json"],
    "help": [*FASTCONV, "--help"],
    "help of demo": [*FASTCONV, "demo", "--help"],
    "version": [*FASTCONV, "--version"],
    "help of peers": [*PEERS, "--help"],
    "peers": [*PEERS, *ONE_ROW],
    "launcher": [*LAUNCHER, "--help"],
}


@pytest.mark.parametrize("command", QUIET.values(), ids=QUIET)
def test_a_reader_who_has_gone_is_no_news(command):
    reading, writing = os.pipe()
    os.close(reading)
    with started(command, stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 141
    assert all(re.match(r" *\d+/\d+, \d+ s: ", line) for line in err.splitlines())


def test_files_are_written_though_nobody_reads_the_table(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*QUIET["peers"], "--json", str(tmp_path / "a"), "--markdown", str(tmp_path / "b")]
    with started(command, stdout=writing) as process:
        os.close(writing)
        process.communicate(timeout=PATIENCE)
    assert json.loads((tmp_path / "a").read_text("utf-8"))["lines"]
    assert "popcount, 16" in (tmp_path / "b").read_text("utf-8")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_said_in_one_line():
    with open("/dev/full", "w") as full, started([*FASTCONV, "info"], stdout=full) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert err == "fastconv info: cannot write standard output: No space left on device\n"


def test_steps_are_lines_as_they_begin_where_there_is_no_terminal():
    with started([*PEERS, "--only", "^import fastconv|^first call, pack"]) as process:
        lines = [process.stderr.readline() for _ in range(2)]
        assert process.poll() is None
    assert re.match(r" *1/3, 0 s: the machine\n", lines[0])
    assert re.match(r" *2/3, \d+ s: import fastconv", lines[1])


@pytest.mark.parametrize("option", ["--json", "--markdown"])
def test_standard_output_is_a_dash_and_has_nothing_else(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert peers.main([*ONE_ROW, option, "-"]) == 0
    out, err = capsys.readouterr()
    assert "1/2, 0 s: the machine" in err
    if option == "--json":
        assert [line["what"] for line in json.loads(out)["lines"]] == ["popcount, 16×16"]
    else:
        assert out.startswith("- CPU: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("main", "arguments"), [(cli.main, ["info"]), (peers.main, ONE_ROW)], ids=["info", "peers"]
)
def test_json_means_the_same_to_every_command(main, arguments, tmp_path, capsys):
    file = tmp_path / "report.json"
    assert main([*arguments, "--json", str(file)]) == 0
    assert not capsys.readouterr().out.startswith("{")
    written = json.loads(file.read_text("utf-8"))
    for more in (["--json"], ["--json", "-"]):
        assert main([*arguments, *more]) == 0
        assert json.loads(capsys.readouterr().out).keys() == written.keys()


def test_another_name_of_standard_output_is_it_whatever_letters_it_has(tmp_path):
    with open(tmp_path / "out", "w+b") as out:
        settings = {**environment(), "PYTHONIOENCODING": "ascii"}
        command = [*FASTCONV, "info", "--json", str(tmp_path / "out")]
        assert subprocess.run(command, stdout=out, env=settings, timeout=PATIENCE).returncode == 0
        out.seek(0)
        assert json.load(out)["versions"]


ENTRIES = [
    Entry(
        "a section of several words", ["the first row, which has a long name", "1.25 ms", "a rival", "met"]
    ),
    Entry("a section of several words", ["", "", "another, of very-very-very-long-words-indeed", "missed"]),
    Entry("another section", ["the last row", "12,345 ms", "", ""]),
]


@pytest.mark.parametrize("columns", [200, 100, 60, 40, 20])
def test_tables_are_as_wide_as_columns_says_and_lose_nothing(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    headings = ("what", "ours", "beside", "")
    text = table(headings, ENTRIES, otherwise=150, numbers=["ours"], title="A title", caption="and a caption")
    assert max(map(len, text.splitlines())) <= columns
    seen = re.sub(r"\W", "", text)
    for entry in ENTRIES:
        for cell in entry.cells if columns < 60 else entry.cells[1:2]:
            assert re.sub(r"\W", "", cell) in seen
    for word in ("A title", "caption", "section"):
        assert word in text
    assert ("━" in text) == (columns >= 100)


@pytest.mark.parametrize("columns", ["60", "40"])
def test_what_programs_print_fits_into_narrow_lines(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    assert cli.main(["info"]) == peers.main(ONE_ROW) == 0
    for main in (cli.main, peers.main):
        with pytest.raises(SystemExit):
            main(["--help"])
    for text in capsys.readouterr():
        for line in text.splitlines():
            assert len(line) <= int(columns), line


@pytest.mark.parametrize("columns", ["0", "-5", "x", ""])
def test_columns_that_are_no_number_are_ignored(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert "━" in table(("what", "ours", "beside", ""), ENTRIES, otherwise=150)


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    write(target, "one")
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~_umask()
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    write(link, "two ×")
    assert link.is_symlink()
    assert target.read_text("utf-8") == "two ×"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    with pytest.raises(KeyboardInterrupt):
        half_written(target, KeyboardInterrupt())
    with pytest.raises(CannotError, match=r"cannot write .*file: No space left"):
        half_written(target, OSError(28, "No space left"))
    assert target.read_text("utf-8") == "two ×"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def half_written(target: Path, error: BaseException) -> None:
    with replacing(target) as neighbour:
        neighbour.write_bytes(b"half of i")
        raise error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_device_is_written_to_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(pipe, "text")
    assert os.read(reader, 99) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("kept")
    for name in (".", "missing/file", "file/below", "n" * 300):
        with pytest.raises(argparse.ArgumentTypeError, match="cannot write"):
            writable(str(tmp_path / name))
    assert writable(str(tmp_path / "new")) == str(tmp_path / "new")
    assert writable(str(tmp_path / "file"))
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_files_that_must_not_be_written_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    file.chmod(0o400)
    with pytest.raises(CannotError, match="permission denied"):
        check(file)


def test_standard_output_that_is_closed_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(CannotError, match="closed"):
        check(files.STANDARD_OUTPUT)
