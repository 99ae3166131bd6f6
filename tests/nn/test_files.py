"""Files of deployed models: what comes back is what was saved, and nothing else is taken."""

import json
import struct

import pytest
from conftest import optional

torch = optional("torch")
safetensors_torch = optional("safetensors.torch")
nn = torch.nn
from checkout import ROOT  # noqa: E402
from fastconv.nn import BinaryConv2d, BinaryLinear, BinaryMaxPool2d, Sign, deploy, load, save  # noqa: E402
from fastconv.nn.calls import Call, Slot  # noqa: E402
from fastconv.nn.description import KNOWN  # noqa: E402
from fastconv.nn.graph import PackedGraph  # noqa: E402
from fastconv.nn.modules import PackedConv2d, PackedLinear  # noqa: E402


@pytest.fixture(scope="module")
def deployed():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.GELU(), nn.BatchNorm2d(6), nn.PReLU(6), Sign(), BinaryMaxPool2d(2, padding=1),
        BinaryConv2d(6, 70, 3, padding="same", groups=2, scale="alpha"), nn.MaxPool2d(2), nn.BatchNorm2d(70),
        Sign(), nn.Flatten(), BinaryLinear(70 * 9, 20, bias=True, weight_bits=2), nn.Hardtanh(-2, 2),
        nn.Linear(20, 5),
    )  # fmt: skip
    with torch.no_grad():
        for norm in (model[2], model[8]):
            norm.weight.copy_(torch.randn(norm.num_features))
    return deploy(model)[0]


@pytest.fixture
def file(deployed, tmp_path):
    path = tmp_path / "model.safetensors"
    save(deployed, path)
    return path


def parts(path):
    """Tensors and metadata of a file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return safetensors_torch.load(content), json.loads(content[8 : 8 + length])["__metadata__"]


def rewritten(path, *, network=None, form="fastconv.nn 2", **changed):
    """The file with some tensors (dots as two underscores), or the network, replaced; None takes one out."""
    tensors, metadata = parts(path)
    for name, tensor in changed.items():
        tensors[name.replace("__", ".")] = tensor
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    metadata = {"format": form, "network": metadata["network"] if network is None else network}
    safetensors_torch.save_file(tensors, path, metadata=metadata)


def described(**changed):
    """The JSON of a network that does nothing, with something changed."""
    whole = {
        "modules": [], "tensors": {}, "calls": [], "inputs": ["x"],
        "output": ["slot", 0], "channels_last": True,
    }  # fmt: skip
    return json.dumps(whole | changed)


MANY_BITS = {"in_features": 3, "out_features": 4, "gives": ["list", "numbers"], "weight_bits": 10**9}


def one_call(target, *more, place=1):
    """The JSON of a call with the input, and with constants."""
    return [target, ["tuple", ["slot", 0], *more], ["dict"], ["tuple", place]]


def nested(depth):
    return ["list", nested(depth - 1)] if depth else ["slot", 0]


def of_one(layer):
    """A network of one layer."""
    return PackedGraph({"0": layer}, [Call("0", (Slot(0),), {}, (1,))], ["x"], Slot(1))


def test_a_model_comes_back_as_it_was(deployed, file):
    loaded = load(file)
    x = torch.randn(2, 3, 14, 14)
    assert str(loaded) == str(deployed)
    assert torch.equal(loaded(x), deployed(x))
    assert not any(module.training for module in loaded.modules())
    save(loaded, file)  # over the file that it came from
    assert torch.equal(load(file)(x), deployed(x))


@pytest.mark.parametrize("layout", ["channels_last", "as given"])
@pytest.mark.parametrize("given", [torch.contiguous_format, torch.channels_last])
def test_weights_lie_in_memory_as_they_did(layout, given, tmp_path):
    """PyTorch's convolutions round by it."""
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 128, 1), BinaryConv2d(128, 70, 3))
    deployed = deploy(model.to(memory_format=given), layout=layout)[0]
    save(deployed, tmp_path / "model")
    loaded = load(tmp_path / "model")
    for name in ("0.weight", "1.weight"):
        assert loaded.state_dict()[name].stride() == deployed.state_dict()[name].stride()


def test_the_default_dtype_makes_no_difference(deployed, file):
    x = torch.randn(2, 3, 14, 14)
    torch.set_default_dtype(torch.float64)
    try:
        save(load(file), file)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(load(file)(x), deployed(x))


def test_what_is_loaded_in_inference_mode_counts_its_changes(file):
    with torch.inference_mode():
        assert not any(tensor.is_inference() for tensor in load(file).state_dict().values())


def test_nothing_is_pickled(file):
    header, content = parts(file)[1], file.read_bytes()
    assert set(header) == {"format", "network"}
    assert b"ctorch" not in content


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, -1])
def test_truncated_files_are_refused(file, kept):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match="no complete file of safetensors"):
        load(file)


def test_dirty_tails_are_refused(file):
    tensors, _ = parts(file)
    for name in ("6.words0", "7.inverted", "11.words0", "11.words1"):
        row = tensors[name].clone()
        row.view(torch.int64).reshape(-1)[-1] |= 1 << 62
        rewritten(file, **{name.replace(".", "__"): row})
        with pytest.raises(ValueError, match=rf"load: .*: {name}: .*bits beyond length \d+ must be 0"):
            load(file)
        rewritten(file, **{name.replace(".", "__"): tensors[name]})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"6__words0": torch.zeros(70, 3, 3, 2, dtype=torch.uint64)}, r"load: .*: 6.words0 must have shape"),
        ({"6__words0": torch.zeros(70, 3, 3, 1, dtype=torch.int64)}, "dtype torch.uint64, got .*torch.int64"),
        ({"6__tau": torch.zeros(71, dtype=torch.int32)}, r"6.tau must have shape \(70,\)"),
        ({"6__tau": None}, r"no tensors \['6.tau'\]"),
        ({"more": torch.zeros(2)}, r"has \['more'\], which no layer wants"),
        ({"form": "fastconv.nn 99"}, "must be of format"),
        ({"network": ""}, "does not describe a network"),
        (
            {"network": described(modules=[["0", "Module", {}]])},
            "does not describe a network: ValueError.*no layer is called 'Module'",
        ),
        (
            {"network": described(modules=[["0", "Linear", {"in_features": "os"}]])},
            "does not describe a network: TypeError",
        ),
        ({"network": "[" * 10**5}, "does not describe a network: RecursionError"),
        (
            {"network": described(calls=[["os.system", ["tuple"], ["dict"], ["tuple", 1]]])},
            "called 'os.system'",
        ),
        ({"network": described(calls=[["_plans", ["tuple"], ["dict"], ["tuple", 1]]])}, "called '_plans'"),
        (
            {"network": described(calls=[["get", ["tuple", "calls"], ["dict"], ["tuple", 1]]])},
            "no tensor 'calls'",
        ),
        (
            {"network": described(calls=[["torch.abs", ["tuple", ["slot", 7]], ["dict"], ["tuple", 1]]])},
            r"with \{7\}",
        ),
        ({"network": described(output=["slot", 3])}, "the output is given by nothing"),
        ({"network": described(output=["slot", 0.0])}, "a slot has a number"),
        ({"network": described(output=["slice", 1])}, "is no value"),
        ({"network": described(output=2**70)}, "is beyond 64 bits"),
        ({"network": described(output=nested(60))}, "is no value"),
        ({"network": described(inputs="x")}, "inputs must be names"),
        ({"network": described(channels_last=None)}, "channels_last must be True or False"),
        ({"network": described(calls=[one_call("torch.abs", place=0)])}, "which is no new place"),
        ({"network": described(calls=[one_call("torch.abs", place="1")])}, "which is no new place"),
        ({"network": described(calls=[["torch.abs", 1, 2, 3]])}, "with a tuple and a dict"),
        (
            {"network": described(calls=[["torch.abs", ["tuple", 1], ["dict"], ["tuple", 1]]])},
            "with no value",
        ),
        ({"network": described(calls=[one_call("getattr", "grad_fn")])}, "getattr gives one of"),
        (
            {"network": described(modules=[["0", "PackedLinear", MANY_BITS]])},
            "weight_bits must be at most 64",
        ),
        (
            {
                "network": described(
                    modules=[["0", "JoinSigns", {"lengths": ["list", 1, 2]}]], calls=[one_call("0")]
                )
            },
            "0 takes 2 values",
        ),
        (
            {"network": described(modules=[["0", "ReLU", {}]], calls=[one_call("0", 1)])},
            "too many positional arguments",
        ),
        ({"network": described(output=["torch", "load"])}, "is no dtype"),
    ],
)
def test_what_save_did_not_write_is_refused(file, changed, said):
    rewritten(file, **changed)
    with pytest.raises(ValueError, match=said):
        load(file)


def test_truth_values_of_other_bytes_are_1(file):
    """Kernels add them to bits."""
    flip = parts(file)[0]["6.flip"].clone()
    flip.view(torch.uint8)[3] = 2
    rewritten(file, **{"6__flip": flip})
    assert load(file).state_dict()["6.flip"].view(torch.uint8)[3] == 1


def test_a_layer_that_adds_is_called_with_what_it_adds(tmp_path):
    """Its kernel would read it at address 0."""
    layer = PackedLinear(3, 4, gives=["numbers"], steps=["scale", "add"])
    with pytest.raises(ValueError, match="0 takes 2 values"):
        save(of_one(layer), tmp_path / "model")
    rows, images = torch.ones(2, 3), torch.ones(2, 3, 4, 4)
    with pytest.raises(
        ValueError, match="a residual and a step that adds it come together, got only the step"
    ):
        of_one(layer)(rows)
    with pytest.raises(ValueError, match="come together, got only the step"):
        PackedConv2d(3, 4, [2, 2], [1, 1], [], [1, 1], gives=["numbers"], steps=["scale", "add"])(images)
    with pytest.raises(ValueError, match="come together, got only a residual"):
        PackedLinear(3, 4, gives=["numbers"], steps=["scale"])(rows, torch.ones(2, 4))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    safetensors_torch.save_file({"x": torch.zeros(2)}, tmp_path / "plain")
    with pytest.raises(ValueError, match="got None"):
        load(tmp_path / "plain")


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    class Own(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"must be a PackedGraph, .* got Own; deploy it first"):
        save(Own(), tmp_path / "model")
    with pytest.raises(TypeError, match="got a layer of type Own"):
        save(of_one(Own()), tmp_path / "model")
    own = PackedGraph({}, [Call("own", (Slot(0),), {}, (1,))], ["x"], Slot(1), functions={"own": abs})
    with pytest.raises(TypeError, match=r"the functions of fastconv.nn.functions, got \['own'\]"):
        save(own, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layer", [BinaryConv2d(6, 4, 3), BinaryLinear(4, 3)])
def test_models_that_train_are_to_be_deployed_first(layer, tmp_path):
    for model in (layer, nn.Sequential(layer), nn.Sequential(nn.ReLU(), nn.Sequential(layer))):
        with pytest.raises(TypeError, match=r"^save: .* deploy it first") as caught:
            save(model, tmp_path / "model")
        assert len(str(caught.value)) < 110


def test_the_layers_that_a_file_can_hold_are_documented():
    page = (ROOT / "docs" / "nn.md").read_text("utf-8")
    for name, kind in KNOWN.items():
        assert kind.__module__.startswith("fastconv") or f"`{name}`" in page


def test_what_deploy_left_in_floats_is_named(tmp_path):
    layer = BinaryConv2d(6, 4, 3, scale="xnor", weight_bits=2)
    with pytest.raises(TypeError, match="got a layer of type BinaryConv2d"):
        save(deploy(nn.Sequential(layer))[0], tmp_path / "model")


def hooked(layer):
    layer.register_forward_hook(lambda module, taken, given: given + 1)
    return layer


def overridden(layer):
    layer.forward = torch.relu
    return layer


def resized(layer):
    layer.weight = nn.Parameter(layer.weight[:2])
    return layer


def extended(layer):
    layer.more = nn.Parameter(torch.zeros(2))
    return layer


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Linear(3, 4).double(), "0.weight must have shape .* torch.float32, got .* torch.float64"),
        (resized(nn.Linear(3, 4)), r"0.weight must have shape \(4, 3\) .* got \(2, 3\)"),
        (nn.utils.spectral_norm(nn.Linear(3, 4)), "0 has hooks"),
        (hooked(nn.ReLU()), "0 has hooks"),
        (overridden(nn.ReLU()), "0 has hooks or a forward of its own"),
        (extended(nn.Linear(3, 4)), r"save: deployed .* has \['0.more'\], which no layer wants"),
    ],
)
def test_what_would_not_come_back_as_it_is_is_refused(layer, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        save(of_one(layer), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_parametrized_layers_and_hooks_of_the_chain_are_refused(tmp_path):
    parametrized = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))
    with pytest.raises(TypeError, match="got a layer of type ParametrizedLinear"):
        save(of_one(parametrized), tmp_path / "model")
    with pytest.raises(ValueError, match="save: deployed has hooks"):
        save(hooked(of_one(nn.ReLU())), tmp_path / "model")
    assert not list(tmp_path.iterdir())
