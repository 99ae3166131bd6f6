"""The compile cache: it is hit, it is never wrong, and it may be missing.

Each test runs copies of the package in processes of their own and reads numba's log of its cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import fastconv

CALL = """
import numpy as np
import fastconv
for dtype in sys.argv[1:]:
    print("sum", int(fastconv.popcount_sum(np.arange(99, dtype=dtype))))
"""

KERNEL = "count.count_rows"
"""The kernel of these calls, as files of the cache are called; what starts it is compiled and kept, too."""

ENTRIES = f"{KERNEL}*.nbc"

SUM = sum(i.bit_count() for i in range(99))


class Run(NamedTuple):
    sums: list[int]
    saved: int
    loaded: int
    stderr: str


def run(package: Path, *dtypes: str, program: str = CALL, **settings: object) -> Run:
    """Sum bits in a new process, with the copy of fastconv in the folder ``package``."""
    environment = os.environ | {"PYTHONPATH": str(package), "NUMBA_DEBUG_CACHE": "1"}
    environment |= {name: str(value) for name, value in settings.items()}
    process = subprocess.run(
        [sys.executable, "-W", "default", "-c", "import sys\n" + program, *(dtypes or ("uint8",))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    return Run(
        [int(line.removeprefix("sum ")) for line in lines if line.startswith("sum ")],
        sum("[cache] data saved" in line and KERNEL in line for line in lines),
        sum("[cache] data loaded" in line and KERNEL in line for line in lines),
        process.stderr,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def filled(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with one entry; not to be changed."""
    cache = tmp_path_factory.mktemp("cache")
    assert run(package, NUMBA_CACHE_DIR=cache).saved == 1
    return cache


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> Path:
    """A copy of :func:`filled`, to be changed."""
    return shutil.copytree(filled, tmp_path / "cache")


def copy_package(folder: Path) -> Path:
    source = Path(fastconv.__file__).parent
    shutil.copytree(source, folder / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_second_process_compiles_nothing(package, filled):
    assert run(package, NUMBA_CACHE_DIR=filled) == Run([SUM], saved=0, loaded=1, stderr="")


def test_numba_cache_dir_is_respected(package, filled):
    assert len(list(filled.rglob(ENTRIES))) == 1
    assert not list(package.rglob("*.nbc"))


def test_without_it_the_cache_lies_beside_the_source(tmp_path):
    package = copy_package(tmp_path)
    assert run(package, NUMBA_CACHE_DIR="").saved == 1
    assert len(list((package / "fastconv" / "cpu" / "bits" / "__pycache__").glob(ENTRIES))) == 1
    assert run(package, NUMBA_CACHE_DIR="").loaded == 1


def test_read_only_installation_and_home(tmp_path):
    # A file where a folder is needed stops root too, whom permissions do not.
    package = copy_package(tmp_path)
    for folder in ("cpu", "cpu/bits"):
        (package / "fastconv" / folder / "__pycache__").touch()
    home = tmp_path / "home"
    home.touch()
    nowhere = {"HOME": home, "XDG_CACHE_HOME": home, "LOCALAPPDATA": home, "NUMBA_CACHE_DIR": home}
    assert run(package, **nowhere) == Run([SUM], saved=0, loaded=0, stderr="")


VANISHING = """
import os, shutil
from fastconv.cpu.cache import _Entries

def save(self, key, data, saved=_Entries.save):
    shutil.rmtree(os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)
    open(os.environ["NUMBA_CACHE_DIR"], "w").close()
    saved(self, key, data)

_Entries.save = save
"""


def test_cache_that_can_no_longer_be_written(package, tmp_path):
    gone = run(package, program=VANISHING + CALL, NUMBA_CACHE_DIR=tmp_path / "cache")
    assert gone == Run([SUM], saved=0, loaded=0, stderr="")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: content[:32] + b"x" + content[33:], id="its head"),
        pytest.param(lambda content: content[:9999] + b"xxxx" + content[10003:], id="machine code"),
    ],
)
def test_damaged_entry_is_compiled_anew(damage, package, cache):
    (entry,) = cache.rglob(ENTRIES)
    entry.write_bytes(damage(entry.read_bytes()))
    assert run(package, NUMBA_CACHE_DIR=cache) == Run([SUM], saved=1, loaded=0, stderr="")
    assert run(package, NUMBA_CACHE_DIR=cache).loaded == 1


def test_entry_that_is_another_ones_is_compiled_anew(package, cache):
    run(package, "uint16", NUMBA_CACHE_DIR=cache)
    one, other = cache.rglob(ENTRIES)
    shutil.copy(one, other)
    assert run(package, "uint8", "uint16", NUMBA_CACHE_DIR=cache)[:3] == ([SUM, SUM], 1, 1)


def test_change_of_another_file_of_the_package_counts(tmp_path):
    package = copy_package(tmp_path)
    cache = tmp_path / "cache"
    run(package, NUMBA_CACHE_DIR=cache)
    vector = package / "fastconv" / "cpu" / "bits" / "vectors.py"
    meaning = "builder.ctpop(args[0])"
    source = vector.read_text()
    assert source.count(meaning) == 1
    vector.write_text(source.replace(meaning, "args[0]"))
    assert run(package, NUMBA_CACHE_DIR=cache).sums != [SUM]


def test_another_processor_has_entries_of_its_own(package, cache):
    other = {"NUMBA_CACHE_DIR": cache, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    assert run(package, **other)[:3] == ([SUM], 1, 0)
    assert run(package, **other)[:3] == ([SUM], 0, 1)
    assert run(package, NUMBA_CACHE_DIR=cache)[:3] == ([SUM], 0, 1)


def test_one_thread_and_several_share_an_entry(package, cache):
    one = "np.arange(99, dtype=dtype)"
    assert one in CALL
    large_and_small = CALL.replace(one, f"np.tile({one}, 5000)") + CALL
    both = {"program": large_and_small, "NUMBA_CACHE_DIR": cache}
    assert run(package, **both)[:3] == ([5000 * SUM, SUM], 0, 1)


def test_processes_that_write_at_once_lose_nothing(package, tmp_path):
    dtypes = ("uint8", "uint16", "uint32")
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda dtype: run(package, dtype, NUMBA_CACHE_DIR=tmp_path), dtypes))
    assert [r.sums for r in runs] == [[SUM]] * 3
    assert run(package, *dtypes, NUMBA_CACHE_DIR=tmp_path)[:3] == ([SUM] * 3, 0, 3)
