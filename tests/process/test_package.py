"""What is published has all that it needs: the kernels are no Python, and compiled where they are used."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile

import pytest
from conftest import optional

from checkout import ROOT

FILES = sorted(
    path.relative_to(ROOT / "src").as_posix()
    for path in (ROOT / "src").rglob("*")
    if path.suffix in (".py", ".typed", ".cu", ".cuh")
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The files of the wheel and of the source distribution."""
    optional("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    with tarfile.open(source) as archive:
        return names, [name.partition("/src/")[2] for name in archive.getnames()]


def test_wheel_has_the_package_and_nothing_else(published):
    wheel, _ = published
    inside = [name for name in wheel if ".dist-info/" not in name]
    assert sorted(inside) == FILES


def test_wheel_and_source_distribution_have_every_module_and_kernel(published):
    assert any(name.endswith(".cu") for name in FILES)
    for names in published:
        assert [name for name in FILES if name not in names] == []
