"""The command line: what it prints, what it draws, and how it ends."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import fastconv
from fastconv.cli import main
from fastconv.demo import measure

PICTURE = "fastconv-demo.png"


@pytest.fixture(scope="module")
def image_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "waves.png"
    rows, columns = np.mgrid[:70, :90]
    waves = 127 + 60 * np.sin(rows / 5) + 60 * np.cos(columns / 7 + rows / 9)
    Image.fromarray(waves.astype(np.uint8)).save(path)
    return path


@pytest.fixture(autouse=True)
def wide_lines(monkeypatch):
    """Whatever runs the tests may have a terminal."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(measure, "PACE", dataclasses.replace(measure.PACE, turn=0.001))


def demo(image, output, *more):
    return main(["demo", "--image", str(image), "--output", str(output), *more])


def test_demo_compares_every_method_and_each_agrees(image_file, tmp_path, capsys):
    assert demo(image_file, tmp_path, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert all(row["ok"] for row in report["rows"])
    assert report["shape"] == [70, 90]
    assert report["picture"] == str(tmp_path / PICTURE)
    sections = {}
    for row in report["rows"]:
        sections.setdefault(row["section"], []).append(row)
        assert row["milliseconds"] > 0
    floats, signs, scaled = sections.values()
    assert len(floats) == 8
    assert len(signs) == len(scaled) == 3
    assert floats[0]["scaled_from"] == [62, 62]
    assert all(row["difference"] == 0 for row in signs)
    assert all(rows[-1]["ratio"] == 1 for rows in sections.values())


def test_demo_prints_a_table_and_the_path_of_its_picture(image_file, tmp_path, capsys):
    output = tmp_path / "new" / "folder"
    assert demo(image_file, output) == 0
    out, err = capsys.readouterr()
    assert "pure Python (64×64 crop; scaled)" in out
    assert out.count("✓") == 14 + 1  # the caption explains it
    assert "✗" not in out
    assert f"Picture: {output / PICTURE}" in out
    assert "timing" in err
    with Image.open(output / PICTURE) as picture:
        assert picture.width == 1200
        pixels = np.asarray(picture.convert("L"))
    assert pixels.std() > 10


@pytest.mark.parametrize("operation", ["correlate2d", "xnor_conv2d"])
def test_demo_ends_with_1_where_a_result_disagrees(operation, image_file, tmp_path, monkeypatch, capsys):
    right = getattr(fastconv, operation)

    def slightly_wrong(*arguments, **options):
        result = right(*arguments, **options)
        result[0, 0] += 1
        return result

    monkeypatch.setattr(fastconv, operation, slightly_wrong)
    assert demo(image_file, tmp_path, "--json") == 1
    out, err = capsys.readouterr()
    wrong = [row["method"] for row in json.loads(out)["rows"] if not row["ok"]]
    assert wrong
    assert all(method.startswith(f"fastconv.{operation}") for method in wrong)
    assert "disagrees" in err


def test_a_result_that_is_not_finite_or_has_the_wrong_shape_disagrees(
    image_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(fastconv, "correlate2d", lambda *_: np.full((68, 88), np.nan, np.float32))
    monkeypatch.setattr("fastconv.demo.draw", lambda *_: None)
    assert demo(image_file, tmp_path, "--json") == 1
    assert json.loads(capsys.readouterr().out)["rows"][7]["difference"] is None
    monkeypatch.setattr(fastconv, "correlate2d", lambda *_: np.zeros((70, 90), np.float32))
    assert demo(image_file, tmp_path, "--json") == 1


@pytest.mark.parametrize("sections", [0, 2])
def test_a_demo_that_is_interrupted_prints_and_writes_what_was_measured(
    sections, image_file, tmp_path, monkeypatch, capsys
):
    rounds = []

    def interrupted(number):
        rounds.append(number)
        if len(rounds) == 2 + sections * measure.PACE.rounds:
            raise KeyboardInterrupt

    turns = measure.take_turns
    monkeypatch.setattr(
        measure,
        "take_turns",
        lambda calls, pace, times, step: turns(calls, pace, times, lambda n: (step(n), interrupted(n))),
    )
    file = tmp_path / "table.json"
    assert demo(image_file, tmp_path / "out", "--json", str(file)) == 130
    out, err = capsys.readouterr()
    assert err.endswith("\nfastconv demo: interrupted\n")
    report = json.loads(file.read_text("utf-8"))
    assert (report["complete"], report["picture"]) == (False, None)
    assert len(report["rows"]) == (8, 11, 14)[sections]
    for row in report["rows"]:
        assert row["method"] in out
    assert not list((tmp_path / "out").iterdir())


def test_the_image_may_come_from_standard_input(image_file, monkeypatch):
    from fastconv.demo.pictures import load_photograph

    with image_file.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        piped = load_photograph("-", min_shape=(3, 3))
    named = load_photograph(str(image_file), min_shape=(3, 3))
    np.testing.assert_array_equal(piped.grey, named.grey)
    assert piped.description == "standard input, 70×90"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_kind_of_image_becomes_grey_levels(mode, tmp_path):
    from fastconv import demo

    ramp = np.linspace(0, 255, 12 * 10).reshape(12, 10)
    if mode in ("I;16", "F"):
        image = Image.fromarray((ramp * 200).astype(np.uint16 if mode == "I;16" else np.float32))
    else:
        image = Image.fromarray(ramp.astype(np.uint8)).convert(mode)
    path = tmp_path / "ramp.tiff"
    image.save(path)
    photograph, _ = demo.prepare(str(path), str(tmp_path))
    assert photograph.grey.dtype == np.float32
    assert photograph.grey.shape == (12, 10)
    assert (photograph.grey.min(), photograph.grey.max()) == (0, 1)
    np.testing.assert_allclose(photograph.grey, ramp / 255, atol=1 if mode == "1" else 0.02)


def test_transparent_parts_are_white_whatever_colour_they_hide(tmp_path):
    from fastconv import demo

    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255  # opaque black above, transparent black below
    Image.fromarray(pixels).save(tmp_path / "half.png")
    photograph, _ = demo.prepare(str(tmp_path / "half.png"), str(tmp_path))
    assert (photograph.grey[:4] == 0).all()
    assert (photograph.grey[4:] == 1).all()


@pytest.mark.parametrize("size", [(3000, 50), (4000, 3)])
def test_large_images_are_made_smaller_and_that_is_said(size, tmp_path):
    from fastconv import demo

    Image.linear_gradient("L").resize(size).save(tmp_path / "large.png")
    photograph, _ = demo.prepare(str(tmp_path / "large.png"), str(tmp_path))
    assert photograph.grey.shape[1] == 1024
    assert min(photograph.grey.shape) >= 3
    assert f"reduced from {size[1]}×{size[0]}" in photograph.description


@pytest.mark.parametrize("shape", [(3, 3), (16, 40)])
def test_an_image_without_contrast_is_no_obstacle(shape, tmp_path):
    Image.fromarray(np.full(shape, 7, np.uint8)).save(tmp_path / "flat.png")
    assert demo(tmp_path / "flat.png", tmp_path) == 0


def refusal(capsys, *arguments):
    assert main(["demo", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastconv demo: ")
    assert err.count("\n") == 1
    return err


def test_demo_refuses_what_is_no_image(tmp_path, capsys):
    (tmp_path / "text.png").write_text("not an image")
    Image.new("L", (2, 50)).save(tmp_path / "narrow.png")
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    whole = tmp_path / "whole.png"
    Image.effect_noise((99, 99), 50).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:3000])
    output = tmp_path / "out"
    for name, reason in {
        "missing.png": "No such file",
        "text.png": "cannot read",
        "cut.png": "cannot read",
        "narrow.png": "fewer than the filter's 3×3",
        "nan.tiff": "not finite",
    }.items():
        assert reason in refusal(capsys, "--image", tmp_path / name, "--output", output)
    assert not output.exists()


def test_demo_refuses_a_folder_it_cannot_write_to(image_file, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / PICTURE).mkdir()
    for output in (tmp_path / "file", tmp_path / "file" / "below", tmp_path):
        assert "cannot write" in refusal(capsys, "--image", image_file, "--output", output)


@pytest.mark.parametrize("package", ["rich", "matplotlib"])
def test_demo_says_which_extra_is_missing(package):
    code = (
        f"import sys; sys.modules['{package}'] = None; "
        "from fastconv.cli import main; sys.exit(main(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f'fastconv demo: {package} is not installed; pip install "fastconv[demo]"\n'


def test_info_reports_every_array_library_without_the_extras():
    code = (
        "import sys; sys.modules['rich'] = sys.modules['matplotlib'] = None; "
        "from fastconv.cli import main; sys.exit(main(['info', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["versions"]["numpy"] == np.__version__
    assert report["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["threads"]["whose"] in ("fastconv's own", "PyTorch's")
    assert report["namespaces"]["numpy"] == {"supported": True, "why": ""}
    assert "x.filled(0)" in report["namespaces"]["numpy.ma"]["why"]


def test_info_for_people(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "✓" in out
    assert "✗ not supported; convert with x.filled(0)" in out
    assert "✗ not supported yet; convert with x.compute()" in out


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "fastconv"]
    assert subprocess.run([*command, "--version"], capture_output=True, text=True).stdout.startswith(
        "fastconv "
    )
    assert subprocess.run([*command, "nonsense"], capture_output=True).returncode == 2


def test_the_command_line_starts_without_numba():
    code = "import sys, fastconv.cli; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
