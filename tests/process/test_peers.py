"""The program ``asv_benchmarks/peers``: every row runs, sides are compared, nothing missing fails."""

import copy
import json
import math
import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_gpu_or_compiler, optional

from fastconv import Threshold
from peers import (
    ceilings,
    crossover,
    gpu,
    libraries,
    networks,
    openvino_models,
    processes,
    report,
    run,
    trunk,
    xnor,
)
from peers.bandwidth import copier, filler
from peers.command import main
from peers.compare import Comparison, MismatchError, Rival, compare, compared
from peers.facts import others, steadiness
from peers.table import Line, Mean, Row, Settings, Target, judged, mean_line

PROGRAM = Path(trunk.__file__).parent
QUICK = Settings(quick=True)
CLASS, SEQUENTIAL = "as a class", "as one Sequential"
ROW = Row("section", "row", lambda settings, row: [])
TRUNK = Row(trunk.SECTION, "deployed trunk", partial(trunk.measured, 1))
PROCESSES = {row.name for row in processes.rows()}
MLP = next(iter(run.select("^MLP with", "networks")))


def measured(rows):
    """Lines of rows that all have to work."""
    lines = list(run.measure(rows, QUICK, lambda name: None))
    assert [line.note for line in lines if line.status == "failed"] == []
    for line in lines:
        assert line.status == "not installed" or math.isfinite(line.value)
    return lines


def needs_torch_and_openvino():
    optional("torch")
    if libraries.openvino() is None:  # of the extra "peers", which CI does not install
        pytest.skip("openvino is not installed")


def lines_of(*rivals):
    return compare(ROW, Comparison(lambda: np.arange(3.0), rivals), QUICK)


@pytest.mark.soak
def test_every_row_in_this_process_runs_and_its_sides_agree():
    lines = measured([row for row in run.all_rows() if row.name not in PROCESSES])
    means = [line for line in lines if "geometric mean of" in line.what]
    compared = {line.peer for line in lines if line.theirs is not None}
    assert len(means) == len([mean for mean in xnor.means() if mean.peer in compared]) + 1
    assert len(lines) > 150


@pytest.mark.soak
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^import fastconv", ["import fastconv, beside numpy alone"]),
        ("first call, pack", ["first call, pack_signs, cold cache", "first call, pack_signs, warm cache"]),
        ("growth of packbits64", ["growth of packbits64, 2^12 to 2^14", "memory of packbits64, 2^14"]),
        (
            r"as on AVX2.*NumPy too",
            ["xnor_conv2d 1×64×56²→64, NCHW, beside NumPy", "xnor_conv2d beside NumPy: geometric mean of 1"],
        ),
    ],
)
def test_rows_in_processes_of_their_own(pattern, expected):
    assert [line.what for line in measured(run.select(pattern))] == expected


def test_rows_on_one_thread_are_rows_from_above():
    lines = measured(run.select("^one thread$"))
    assert {line.section for line in lines} == {"One thread"}
    assert {line.what for line in lines} >= {"xnor_conv2d 1×64×56²→64, NCHW", "correlate2d 1024², 3×3"}


def test_memory_counts_what_is_left_when_inputs_and_results_are_taken_off():
    memory = next(line for line in measured(run.select("growth of im2col")) if "memory" in line.what)
    assert 0 <= memory.value < 8


def test_rows_have_names_of_their_own_and_are_chosen_by_name_or_section():
    names = [row.name for row in run.all_rows()]
    assert len(set(names)) == len(names)
    assert [row.name for row in run.select("IMPORT fastconv")] == ["import fastconv, beside numpy alone"]
    assert {row.section for row in run.select("^phases")} == {xnor.PHASES}
    assert run.select("no such row") == []


def test_a_wrong_result_is_an_error_and_the_rows_after_it_still_run():
    with pytest.raises(MismatchError, match="row: fastconv and wrong disagree, off by up to 1"):
        lines_of(Rival("wrong", lambda: np.array([0, 1, 3])))
    with pytest.raises(MismatchError, match="not comparable"):
        lines_of(Rival("wrong", lambda: np.arange(4)))
    with pytest.raises(MismatchError, match="not comparable"):
        lines_of(Rival("wrong", lambda: np.array([0, 1, np.nan])))
    rivals = [Rival("wrong", lambda: np.ones(3))]
    bad = compared("section", "bad", lambda settings: Comparison(lambda: np.zeros(3), rivals))
    broken = compared("section", "broken", lambda settings: 1 / 0)
    good = Row("section", "good", lambda settings, row: [judged(row, "", 1.0, None)])
    lines = list(run.measure([bad, broken, good], QUICK, lambda name: None))
    assert [line.status for line in lines] == ["failed", "failed", "measured"]
    assert "disagree" in lines[0].note
    assert "ZeroDivisionError" in lines[1].note


def test_a_tolerable_difference_is_none():
    rival = Rival("rounded", lambda: np.array([0, 1, 2.25]), tolerance=np.array([0, 0, 0.25]))
    assert [line.status for line in lines_of(rival)] == ["measured"]


def test_without_read_only_the_time_counts():
    assert [line.status for line in lines_of(Rival("a copy", lambda: None, read=None))] == ["measured"]


def test_a_missing_library_costs_its_line():
    (line,) = lines_of(Rival("missing", None, Target(2)))
    assert line.status == "not installed"
    assert line.ours > 0
    mean = mean_line(Mean("group", "missing", Target(2)), "section", [line])
    assert mean.status == "not installed"


def test_without_any_of_the_peers_no_row_fails(monkeypatch):
    for library in ("torch", "opencv", "openvino"):
        monkeypatch.setattr(libraries, library, lambda: None)
    lines = measured([row for row in run.all_rows() if row.name not in PROCESSES])
    assert {line.peer for line in lines if line.status == "not installed"} >= {
        xnor.OPENVINO,
        xnor.INT8,
        xnor.FLOAT,
        "OpenCV filter2D",
        "torch unfold",
        *trunk.PEERS,
    }
    for section in (trunk.SECTION, networks.SECTION, networks.ALONE_SECTION, crossover.SECTION):
        assert "needs PyTorch" in next(line.note for line in lines if line.section == section)
    assert [line.what for line in lines if "geometric mean of 0" in line.what] == []


def test_the_trunk_has_the_convolutions_of_resnet_18():
    assert [(c.inputs, c.outputs, c.stride) for c in trunk.convolutions(Settings())] == [
        *[(64, 64, 1)] * 4,
        *[(64, 128, 2), *[(128, 128, 1)] * 3],
        *[(128, 256, 2), *[(256, 256, 1)] * 3],
        *[(256, 512, 2), *[(512, 512, 1)] * 3],
    ]


def test_the_deployed_trunk_passes_packed_bits_from_layer_to_layer():
    optional("torch")
    _, deployed, _ = trunk.models(QUICK)
    names = [type(module).__name__ for module in deployed]
    assert names == ["Conv2d", "PackSigns", "PackedMaxPool2d", *["PackedConv2d"] * 4]
    assert [module.gives for module in [*deployed][3:7]] == [["signs"]] * 3 + [["numbers"]]


def test_a_deployed_trunk_that_is_not_the_trained_one_is_an_error(monkeypatch):
    torch = optional("torch")
    trained, deployed, real = trunk.models(QUICK)
    monkeypatch.setattr(
        trunk, "models", lambda settings: (trained, torch.nn.Sequential(*[*deployed][:-1]), real)
    )
    monkeypatch.setattr(trunk, "_compiled", lambda model, x: None)
    (line,) = run.measure([TRUNK], QUICK, lambda name: None)
    assert line.status == "failed"
    assert f"fastconv and {trunk.TRAINED} disagree" in line.note


def test_the_stem_rounds_no_sum_so_that_every_library_has_the_same_signs():
    torch = optional("torch")
    stem = trunk.models(QUICK)[0][:3]
    x = torch.from_numpy(trunk.images(8, QUICK))
    with torch.inference_mode():
        assert torch.equal(stem(x).double(), copy.deepcopy(stem).double()(x.double()))


def test_a_sign_that_differs_is_no_rounding():
    optional("torch")
    trained = trunk.models(QUICK)[0]
    norm = trained[-1]
    by_a_sign = 2 * norm.weight.detach().abs() / (norm.running_var + norm.eps).sqrt()
    assert (by_a_sign.numpy()[:, None, None] > 100 * trunk.tolerance(trained)).all()


def test_openvino_passes_packed_bits_from_layer_to_layer(monkeypatch):
    needs_torch_and_openvino()
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("OpenVINO has binary convolutions of packed bits for x86-64 alone")
    compile_model, models = openvino_models.compiled, []

    def compiled(source, result):
        models.append(compile_model(source, result))
        return models[-1]

    monkeypatch.setattr(openvino_models, "compiled", compiled)
    trained, _, _ = trunk.models(QUICK)
    trunk._openvino(trained, trunk.images(1, QUICK))
    nodes = [node.get_rt_info() for node in models[0].get_runtime_model().get_ordered_ops()]
    kinds = [(node["layerType"].astype(str), node["outputPrecisions"].astype(str)) for node in nodes]
    assert [kind for kind in kinds if kind[0] in ("FakeQuantize", "BinaryConvolution")] == [
        ("FakeQuantize", "u1"),
        *[("BinaryConvolution", "u1")] * 3,
        ("BinaryConvolution", "f32"),
    ]


def test_another_trunk_in_openvino_is_an_error(monkeypatch):
    needs_torch_and_openvino()
    same = openvino_models.trunk

    def opposite(x, trained, thresholds):
        *others, last = thresholds
        return same(x, trained, [*others, Threshold(last.tau, ~last.flip)])

    monkeypatch.setattr(openvino_models, "trunk", opposite)
    monkeypatch.setattr(trunk, "_compiled", lambda model, x: None)
    (line,) = run.measure([TRUNK], QUICK, lambda name: None)
    assert line.status == "failed"
    assert f"fastconv and {trunk.OPENVINO} disagree" in line.note


def test_without_openvino_the_trunk_is_measured(monkeypatch):
    optional("torch")
    monkeypatch.setattr(libraries, "openvino", lambda: None)
    monkeypatch.setattr(trunk, "_compiled", lambda model, x: None)
    lines = measured([TRUNK])
    missing = [line.peer for line in lines if line.status == "not installed"]
    assert missing == [trunk.COMPILED, trunk.OPENVINO]


def test_networks_are_compared_and_stand_beside_their_twins_and_their_other_form():
    optional("torch")
    lines = measured([MLP])
    forms = [line.what for line in lines if line.peer == networks.FLOAT32]
    assert forms == [f"{MLP.name}, {form}, {n}×30" for n in (1, 8) for form in (CLASS, SEQUENTIAL)]
    targets = [line.target for line in lines if line.peer == networks.FLOAT32]
    assert targets == [2, 2, 3, 3]
    assert [line.target for line in lines if "the same" in line.peer] == [0.95] * 4


def test_a_deployed_network_that_is_not_the_trained_one_is_an_error(monkeypatch):
    torch = optional("torch")
    from fastconv.nn import deploy

    def other(model):
        deployed, report = deploy(model)
        return torch.nn.Sequential(deployed, torch.nn.Softplus()), report

    monkeypatch.setattr("fastconv.nn.deploy", other)
    (line,) = run.measure([MLP], QUICK, lambda name: None)
    assert line.status == "failed"
    assert "deployed and trained disagree" in line.note


@pytest.mark.parametrize("name", ["Bi-Real-18", "MLP with binary hidden layers", "U-Net"])
def test_the_twin_in_openvino_is_the_twin(name):
    needs_torch_and_openvino()
    from peers.networks.catalogue import made
    from peers.networks.floats import OPENVINO, OPENVINO16, Twin, call

    network = made(name, small=True)
    twin = Twin(network.twin, network.image)
    x = networks.images((3, *network.image))
    expected = call(network.twin, x)()
    for peer, tolerance in ((OPENVINO, 1e-4), (OPENVINO16, 0.1), (networks.BFLOAT16, 0.1)):
        difference = np.abs(twin.call(peer, x)() - expected).max()
        assert difference <= tolerance * np.abs(expected).max(), peer


def test_a_quantized_twin_is_near_the_twin():
    needs_torch_and_openvino()
    if libraries.nncf() is None:
        pytest.skip("nncf is not installed")
    from peers.networks.catalogue import made
    from peers.networks.floats import INT8, Twin, call

    network = made("BinaryNet-VGG", small=True)
    x = networks.images((2, *network.image))
    expected = call(network.twin, x)()
    difference = np.abs(Twin(network.twin, network.image).call(INT8, x)() - expected).max()
    assert 0 < difference <= np.abs(expected).max() / 4


def test_a_loss_is_called_one():
    assert networks._is_loss(judged(ROW, "", 0.99, None))
    assert not networks._is_loss(judged(ROW, "", 1.0, None))
    assert not networks._is_loss(judged(ROW, "", 0.99, Target(2)))  # which is missed


@pytest.mark.soak
def test_networks_on_one_thread_and_the_crossover_have_processes_of_their_own():
    optional("torch")
    lines = measured(run.select("^networks on one thread$|^crossover"))
    alone = {line.what for line in lines if line.section == networks.ALONE_SECTION}
    assert alone == {"U-Net, 1×3×16², one thread", "U-Net, 8×3×16², one thread"}
    cells = [line.cell for line in lines if line.section == crossover.SECTION]
    assert cells == [["16 channels", "4²"], ["16 channels", "7²"]]


def test_cells_are_a_table_of_values_in_markdown():
    row = Row("grid", "row", lambda settings, row: [])
    target = Target(1)
    lines = [
        replace(judged(row, "peer", value, bound), cell=cell)
        for value, bound, cell in [
            (0.5, None, ("16 channels", "4²")),
            (0.75, target, ("16 channels", "7²")),
            (8.0, target, ("32 channels", "7²")),
        ]
    ]
    page = report.markdown({}, [judged(ROW, "other", 1.0, None), *lines])
    assert "**grid**, beside peer" in page
    assert "|  | 4² | 7² |\n|---|---:|---:|\n" in page
    assert "| 16 channels | 0.50× | **0.75×** |\n| 32 channels |  | 8.00× |" in page
    assert page.count("| row |") == 1


def test_verdicts():
    assert judged(ROW, "", 2.0, Target(2)).status == "met"
    assert judged(ROW, "", 1.99, Target(2)).status == "missed"
    assert judged(ROW, "", 2.0, Target(2, at_most=True)).status == "met"
    assert judged(ROW, "", 2.01, Target(2, at_most=True)).status == "missed"
    assert judged(ROW, "", 2.01, None).status == "measured"


@pytest.mark.parametrize(
    ("target", "share", "expected"),
    [
        (Target(2), 1.0, 1e6),  # a rival of 10 s is so many times slower than 10 µs
        (Target(2), 0.5, 5e5),
        (Target(2, at_most=True), 1.0, 1e-6),
        (Target(2, "%"), 1.0, 1e8),
    ],
)
def test_the_value_is_a_ratio_of_times(monkeypatch, target, share, expected):
    monkeypatch.setattr("peers.compare.seconds_in_turn", lambda calls, pace: [1e-5] * len(calls))
    (line,) = lines_of(Rival("bound", 10.0, target, share=share))
    assert line.value == pytest.approx(expected)
    assert line.theirs == 10.0 * share


def test_geometric_mean():
    lines = [judged(ROW, "peer", value, None) for value in (1.0, 4.0, 16.0)]
    mean = mean_line(Mean("group", "peer", Target(4.01)), "section", lines)
    assert mean.value == pytest.approx(4)
    assert (mean.what, mean.status) == ("group: geometric mean of 3", "missed")


def test_bounds_are_rates_of_this_machine():
    widest = ceilings.widest_registers()
    assert widest in (64, 128, 256, 512)
    assert 1e9 < ceilings.popcount_rate() < 1e15
    assert 1e8 < ceilings.multiply_add_rate() < 1e14
    source = np.arange(1e5)
    target = np.empty_like(source)
    filler(target)()
    assert (target == 0).all()
    copier(source)()


def test_other_processes_are_noticed():
    assert others((10.0, 5.0), (11.0, 6.0), 10.0).startswith("used 0 % of the CPUs")
    busy = 10.0 * (os.cpu_count() or 1)
    assert others((10.0, 5.0), (10.0 + busy, 5.0 + busy / 2), 10.0) == (
        "used 50 % of the CPUs meanwhile: not to be trusted, run it again"
    )
    assert "not known" in others(None, None, 10.0)


def test_a_machine_that_slows_down_is_noticed():
    assert steadiness([1.01, 0.95]) == "95 % of its first popcount rate, at the slowest of 2 moments"
    assert steadiness([1.0, 0.4, 1.0]).endswith("3 moments: not to be trusted, run it again")
    assert ceilings.relative_speed() > 0


def test_command_writes_json_and_markdown(tmp_path, capsys):
    files = ["--json", str(tmp_path / "table.json"), "--markdown", str(tmp_path / "table.md")]
    assert main(["--quick", "--only", "popcount of uint64|popcount, 16", *files]) == 0
    out = capsys.readouterr().out
    for word in ("CPU: ", "popcount of uint64, 2^20", "numpy.bitwise_count", "judges no speed"):
        assert word in out
    written = json.loads((tmp_path / "table.json").read_text("utf-8"))
    assert [line["what"] for line in written["lines"]] == ["popcount of uint64, 2^20", "popcount, 16×16"]
    assert written["facts"]["versions"].startswith("fastconv ")
    page = (tmp_path / "table.md").read_text("utf-8")
    assert "| popcount of uint64, 2^20 | " in page
    assert f"\n| {' | '.join(report.HEADINGS)} |\n|---" in page


def test_a_missed_target_is_said_in_words_and_is_no_failure():
    lines = [
        judged(ROW, "one", 1.0, Target(2), ours=2e-3, theirs=2e-3),
        judged(ROW, "two", 3.0, Target(2), ours=2e-3, theirs=6e-3),
        Line("section", "row", "three", "not installed", 2e-3),
    ]
    assert report.summary(lines) == "Targets met: 1, missed: 1; lines not installed: 1."
    page = report.markdown({"CPU": "any"}, lines)
    assert "| row | 2.00 ms | one | 2.00 ms | 1.00× | ≥ 2× | **missed** |" in page
    assert "|  |  | two | 6.00 ms | 3.00× | ≥ 2× | met |" in page
    assert "|  |  | three |  |  |  | not installed |" in page
    assert "missed" in report.text({"CPU": "any"}, lines)


def test_command_ends_with_1_where_results_disagree(monkeypatch, capsys):
    monkeypatch.setattr("peers.bits.popcount_sum", lambda x: np.int64(-1))
    assert main(["--quick", "--only", "popcount_sum of"]) == 1
    out, err = capsys.readouterr()
    assert "failed" in out
    assert "fastconv and numpy.bitwise_count, sum (1 thread) disagree" in err


def test_a_note_of_several_lines_is_one_cell():
    def fail(settings, row):
        raise ValueError("a | b\n  c")

    (line,) = run.measure([Row("section", "broken", fail)], QUICK, lambda name: None)
    assert line.note == "ValueError: a | b c"
    assert report.markdown({}, [line]).splitlines()[-1].endswith("| failed: ValueError: a \\| b c |")


@pytest.mark.parametrize(("only", "reason"), [("no such row", "no row"), ("(", "no regular expression")])
def test_command_refuses_a_choice_of_nothing(only, reason, capsys):
    assert main(["--only", only]) == 2
    assert reason in capsys.readouterr().err


def program_without(package, *options):
    run_folder = f"import runpy; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    code = f"import sys; sys.modules[{package!r}] = None; {run_folder}"
    return subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True)


def test_command_says_which_extra_is_missing():
    done = program_without("rich")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'peers: rich is not installed; pip install "fastconv[peers]"\n'


@pytest.mark.soak
def test_the_folder_is_a_program():
    command = [sys.executable, str(PROGRAM), "--quick", "--only", "popcount, 16"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "popcount, 16×16" in done.stdout


@pytest.mark.gpu
@pytest.mark.parametrize("row", gpu.rows(), ids=lambda row: row.name)
def test_every_row_on_a_gpu_runs_and_its_sides_agree(row, request):
    needs_gpu_or_compiler(request.config)
    assert {line.section for line in measured([row])} == {row.section}


@pytest.mark.gpu
def test_command_measures_on_a_gpu(request, capsys):
    needs_gpu_or_compiler(request.config)
    assert main(["--gpu", "--quick", "--only", "popcount"]) == 0
    out = capsys.readouterr().out
    for word in ("GPU: ", "compute capability", "popcount of uint64, 2^27", gpu.COPY):
        assert word in out


def test_command_without_a_gpu_says_what_it_needs():
    done = program_without("cupy", "--gpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "peers: cupy is not installed\n"


def test_the_program_reaches_into_no_private_part_of_fastconv_but_for_the_number_of_threads():
    private = re.compile(r"fastconv(\.\w+)*\._[a-z]\w*|fastconv\.cpu")
    found = {path.name for path in PROGRAM.rglob("*.py") if private.search(path.read_text("utf-8"))}
    assert found == {"threads.py"}
