"""The examples run; and CIFAR-10's reader takes the official format and nothing else."""

import importlib
import io
import pickle
import re
import sys
import tarfile

import numpy as np
import pytest
from conftest import optional

from checkout import ROOT

for part in ("torch", "safetensors", "sklearn", "matplotlib", "rich"):
    optional(part)

FOLDER = ROOT / "examples"
NAMES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
PIXELS = 3 * 32 * 32


@pytest.fixture
def example(monkeypatch):
    """Import one as Python does that runs it."""
    monkeypatch.syspath_prepend(FOLDER)

    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def string(value):
    return b"T" + len(value).to_bytes(4, "little") + value


def pickled(value):
    """``value`` as Python 2 pickled it (protocol 2), which made the official archive: strings are bytes."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + value.to_bytes(4, "little", signed=True)
        case bytes():
            return string(value)
        case tuple():
            return b"(" + b"".join(map(pickled, value)) + b"t"
        case list():
            return b"(" + b"".join(map(pickled, value)) + b"l"
        case dict():
            return b"(" + b"".join(pickled(part) for item in value.items() for part in item) + b"d"
    assert isinstance(value, np.ndarray)
    made = (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + b"(cnumpy\nndarray\n"
        + pickled((0,))
        + string(b"b")
        + b"tR"
    )
    kind = b"cnumpy\ndtype\n" + pickled((value.dtype.str[1:].encode(), 0, 1)) + b"R"
    kind += pickled((3, value.dtype.str[:1].encode(), None, None, None, -1, -1, 0)) + b"b"
    state = pickled(1) + pickled(value.shape) + kind + pickled(False) + string(value.tobytes())
    return made + b"(" + state + b"tb"


def batch(seed, images=12):
    rng = np.random.default_rng(seed)
    return {
        b"batch_label": b"training batch 1 of 5",
        b"labels": rng.integers(0, 10, images).tolist(),
        b"data": rng.integers(0, 256, (images, PIXELS)).astype(np.uint8),
        b"filenames": [b"image_%d.png" % number for number in range(images)],
    }


def write_archive(path, batches):
    """An archive as the official one is: tar and gzip, a folder with eight files, pickles in six."""
    others = {"batches.meta": b"\x80\x02}.", "readme.html": b"<meta>"}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**others, **batches}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def whole(value):
    return b"\x80\x02" + pickled(value) + b"."


BATCHES = {name: whole(batch(seed)) for seed, name in enumerate(NAMES)}


def test_our_pickles_are_what_python_reads():
    found = pickle.loads(BATCHES["data_batch_1"], encoding="bytes")
    expected = batch(0)
    np.testing.assert_array_equal(found.pop(b"data"), expected.pop(b"data"))
    assert found == expected


def test_the_official_format_is_read(example, tmp_path):
    training, test = example("cifar_archive").load(write_archive(tmp_path / "cifar.tar.gz", BATCHES))
    assert training.pixels.shape == (60, 3, 32, 32)
    assert (training.pixels.dtype, training.labels.dtype) == (np.uint8, np.int64)
    for seed, (pixels, labels) in enumerate(
        [*zip(np.split(training.pixels, 5), np.split(training.labels, 5), strict=True), test]
    ):
        np.testing.assert_array_equal(pixels.reshape(-1, PIXELS), batch(seed)[b"data"])
        np.testing.assert_array_equal(labels, batch(seed)[b"labels"])


def changed(**parts):
    return whole({**batch(0), **{name.encode(): value for name, value in parts.items()}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no cifar-10-batches-py/data_batch_3"),
        (b"", "data_batch_3: cannot be unpickled"),
        (BATCHES["data_batch_3"][:-100], "data_batch_3: cannot be unpickled"),
        (whole([1, 2]), "must hold a dict"),
        (whole({b"data": 1}), "must hold a dict with b'data' and b'labels'"),
        (b"\x80\x02cos\nsystem\n" + pickled((b"true",)) + b"R.", "os.system has no place in it"),
        (b"\x80\x02cnumpy\nload\n.", "numpy.load has no place in it"),
        (changed(data=np.zeros((12, PIXELS), np.float32)), "arrays must be of uint8"),
        (changed(data=np.zeros((12, 3071), np.uint8)), r"must be an array of uint8 \(N, 3072\), got shape"),
        (changed(data=b"12"), "got no array of bytes"),
        (changed(labels=[0] * 11), "holds 12 images and 11 labels"),
        (changed(labels=[0] * 11 + [10]), "numbers from 0 to 9"),
        (changed(labels=[0] * 11 + [b"1"]), "numbers from 0 to 9"),
    ],
)
def test_bad_batches_are_refused(example, tmp_path, content, said):
    batches = {**BATCHES, "data_batch_3": content}
    path = write_archive(tmp_path / "cifar.tar.gz", {n: c for n, c in batches.items() if c is not None})
    with pytest.raises(ValueError, match=said):
        example("cifar_archive").load(path)


def test_bad_archives_are_refused(example, tmp_path, capsys):
    load = example("cifar_archive").load
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    path = write_archive(tmp_path / "cifar.tar.gz", BATCHES)
    content = path.read_bytes()
    for bad in (b"", b"no archive at all", content[:100], content[: len(content) // 2]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="no complete tar archive"):
            load(path)
    with pytest.raises(SystemExit):
        example("cifar10").main(["--data", str(path)])
    assert "no complete tar archive" in capsys.readouterr().err


def test_cifar10_trains_and_deploys(example, tmp_path, capsys):
    archive = write_archive(tmp_path / "cifar.tar.gz", BATCHES)
    out = tmp_path / "out"
    assert example("cifar10").main(["--data", str(archive), "--epochs", "1", "--output", str(out)]) == 0
    assert "0 of 12 predictions differ" in " ".join(capsys.readouterr().out.split())
    assert (out / "network.safetensors").stat().st_size < 60_000


def test_digits_trains_deploys_and_draws(example, tmp_path, capsys):
    arguments = ["--epochs", "1", "--calls", "1", "--output", str(tmp_path)]
    assert example("digits").main(arguments) == 0
    said = capsys.readouterr().out
    assert "differently: 0" in said
    assert said.count("deployed") >= 4
    for name in ("filters", "confusion"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_shortcuts_trains_deploys_and_reads_back_to_the_last_bit(example, tmp_path, capsys):
    arguments = ["--epochs", "1", "--calls", "1", "--output", str(tmp_path)]
    assert example("shortcuts").main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"scores than the trained network's, deployed: 0\b", said)
    assert re.search(r"scores than the trained network's, read back from .*: 0\b", said)
    for block in range(6):
        assert f"a step of blocks.{block}.convolution" in said
    assert (tmp_path / "shortcuts.safetensors").stat().st_size < 400_000
