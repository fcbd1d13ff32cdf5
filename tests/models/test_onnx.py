"""Models exported to ONNX as targets: what they say, what they may be, and where their weights lie."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from helpers.exported import Normalised, export
from helpers.refusals import nothing_written, refused
from helpers.short_attack import TRY, records
from helpers.wrong_models import write_graph
from transferzoo import evaluate, load_images, load_model, read_attack
from transferzoo.base.errors import ModelError
from transferzoo.models import load
from transferzoo.models.sources.onnx_file import OnnxFile
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
FASHION = load_zoo().dataset("fashion-mnist")


def tiny(channels: int = 1, classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), pooled, nn.Linear(4, classes)).eval()


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in vgg, exported with its normalisation."""
    model = load_model("vgg")
    network = Normalised(model.model, float(model.mean), float(model.std))
    return export(network, tmp_path_factory.mktemp("onnx") / "exported.onnx", 2, 1, 28, 28)


@pytest.mark.parametrize(
    ("size", "dynamic"),
    [
        ((2, 1, 28, 28), (0,)),
        ((1, 1, 28, 28), ()),
        ((4, 1, 28, 28), ()),
        ((2, 1, 28, 28), (0, 2, 3)),
        ((3, 3, 28, 28), ()),
        ((2, 1, 40, 20), (0,)),
    ],
)
def test_an_exported_model_says_what_the_original_says(
    tmp_path: Path, size: tuple[int, ...], dynamic: tuple[int, ...]
) -> None:
    """Whatever its batch is, also where the images do not fill it; at its own size and channels."""
    network = tiny(size[1])
    model = OnnxFile(export(network, tmp_path / "net.onnx", *size, dynamic=dynamic)).load(FASHION)
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    read = nn.functional.interpolate(images, size[2:], mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = network(read.expand(-1, size[1], -1, -1))
        torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(images[:0]), expected[:0])


class Reads(nn.Module):
    """A network behind another input: 8-bit pixels, half precision, channels last."""

    def __init__(self, network: nn.Module, dtype: torch.dtype, channels_last: bool) -> None:
        super().__init__()
        self.network, self.dtype, self.channels_last = network, dtype, channels_last

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.float() / 255 if self.dtype == torch.uint8 else images.float()
        pixels = pixels.permute(0, 3, 1, 2) if self.channels_last else pixels
        said: torch.Tensor = self.network(pixels)
        return said.to(torch.float16) if self.dtype == torch.float16 else said


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
@pytest.mark.parametrize(("batch", "dynamic"), [(1, ()), (3, ()), (2, (0,))])
@pytest.mark.parametrize("channels", [1, 3])
def test_inputs_of_other_kinds_are_fed_as_they_say(
    tmp_path: Path,
    dtype: torch.dtype,
    channels_last: bool,
    batch: int,
    dynamic: tuple[int, ...],
    channels: int,
) -> None:
    network = tiny(channels)
    size = (batch, 28, 28, channels) if channels_last else (batch, channels, 28, 28)
    reads = Reads(network, dtype, channels_last)
    model = OnnxFile(export(reads, tmp_path / "net.onnx", *size, dynamic=dynamic, dtype=dtype)).load(FASHION)
    images = load_images().images[:5] / 255
    with torch.no_grad():
        expected = network(images.expand(-1, channels, -1, -1))
        close = 5e-3 if dtype == torch.float16 else 1e-5
        torch.testing.assert_close(model(images), expected, rtol=0, atol=close)


def test_channels_last_without_a_fixed_size(tmp_path: Path) -> None:
    network = tiny()
    reads = Reads(network, torch.uint8, channels_last=True)
    file = export(reads, tmp_path / "net.onnx", 2, 28, 28, 1, dynamic=(0, 1, 2), dtype=torch.uint8)
    images = load_images().images[:5] / 255
    with torch.no_grad():
        torch.testing.assert_close(OnnxFile(file).load(FASHION)(images), network(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("built", [False, True])
def test_it_runs_on_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: bool, built: bool
) -> None:
    """What onnxruntime is asked for; this machine's has no GPU."""
    import onnxruntime

    file = export(tiny(), tmp_path / "net.onnx", 2, 1, 28, 28)
    asked: list[list[str]] = []
    real = onnxruntime.InferenceSession

    def session(path: Path, options: Any, providers: list[str]) -> Any:
        asked.append(providers)
        return real(path, options, providers=["CPUExecutionProvider"])

    available = ["CPUExecutionProvider"] + ["CUDAExecutionProvider"] * built
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    OnnxFile(file).load(FASHION)
    first = ["CUDAExecutionProvider"] * (gpu and built)
    assert asked == [[*first, "CPUExecutionProvider"]]
    assert ("CUDA" in OnnxFile(file).versions()["onnxruntime"]) == (gpu and built)


def test_an_exported_target_falls_for_what_the_original_falls_for(cli: Run, few: Path, vgg: Path) -> None:
    found = records(cli, few, "-t", vgg, "-t", f"{vgg}|bits:depth=3", "-t", "vgg|bits:depth=3")
    one, other = (found["resnet50-sgd", name] for name in ("vgg", "exported"))
    assert "1" in one["outcomes"]
    assert one["outcomes"] == other["outcomes"]
    assert (
        found["resnet50-sgd", "vgg|bits:depth=3"]["outcomes"]
        == (found["resnet50-sgd", "exported|bits:depth=3"]["outcomes"])
    )
    assert other["target_sha256"] == OnnxFile(vgg).identity()[0]
    assert "onnxruntime" in other["versions"]
    assert not other["white_box"]


def test_without_exported_models_no_run_knows_of_onnxruntime(cli: Run, few: Path) -> None:
    plan = json.loads(cli(*TRY, "--data", few, "--dry-run", "--json").out)
    assert sorted(plan["versions"]) == ["timm", "torch", "transferzoo"]


def test_an_exported_model_is_no_surrogate(cli: Run, few: Path, vgg: Path, tmp_path: Path) -> None:
    words = ("'exported' is no surrogate: no gradient comes back", "use it as a target")
    refused(cli("attack", "-s", vgg, "-t", "vgg", "--data", few), 2, *words)
    refused(cli("attack", "-s", vgg, "-t", "vgg", "--data", few, "--batch-size", "auto"), 2, *words)
    refused(cli("train", "--recipe", "resnet50-sgd", "--validator", vgg), 2, "is no checkpoint folder")
    nothing_written(tmp_path)


def test_weights_in_a_second_file_belong_to_the_model(tmp_path: Path) -> None:
    plain = export(tiny(), tmp_path / "net.onnx", 2, 1, 28, 28)
    alone = OnnxFile(plain).identity()[0]
    long = "w" * 150
    for name in ("beside.data", f"{long}.data"):
        file = tmp_path / "two.onnx"
        onnx.save_model(onnx.load(plain), file, save_as_external_data=True, location=name, size_threshold=0)
        before = OnnxFile(file).identity()[0]
        images = torch.rand(2, 1, 28, 28)
        same = [OnnxFile(path).load(FASHION)(images) for path in (plain, file)]
        torch.testing.assert_close(*same)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[:-4] + b"\x00\x00\x80\x3f")
        assert len({alone, before, OnnxFile(file).identity()[0]}) == 3
        (tmp_path / name).unlink()
        with pytest.raises(ModelError, match=r"cannot open .*two\.onnx: "):
            OnnxFile(file).load(FASHION)


@pytest.mark.parametrize("place", ["../secret", "/etc/hostname", "a/../../secret"])
def test_weights_elsewhere_are_not_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(4000))
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / "net.onnx"
    model = onnx.load(export(tiny(), file, 2, 1, 28, 28))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    file.write_bytes(model.SerializeToString())
    source = OnnxFile(file)
    for use in (source.identity, lambda: source.load(FASHION)):
        with pytest.raises(ModelError, match=rf"its weights in '{place}': expected a file in the same"):
            use()


FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
IMAGES = (FLOAT, [2, 1, 28, 28])


@pytest.mark.parametrize(
    ("inputs", "output", "value", "words"),
    [
        ([(FLOAT, ["n", 7, 28, 28])], (2, 10), 0, ("expected 1 or 3 channels", "['n', 7, 28, 28]")),
        ([(DOUBLE, [2, 1, 28, 28])], (2, 10), 0, ("one input of 4 dimensions, float32, float16", "double")),
        ([IMAGES, IMAGES], (2, 10), 0, ("expected one input", "tensor(float) [2, 1, 28, 28], tensor(float)")),
        ([], (2, 10), 0, ("expected one input", "got none")),
        ([IMAGES], (10,), 0, ("does not classify like the data set", "got shape (2,)")),
        ([IMAGES], (2, 10), 0, ("'net' does not classify these images", "clean accuracy", "normalisation")),
    ],
)
def test_a_graph_that_does_not_fit_is_a_sentence(
    cli: Run,
    few: Path,
    tmp_path: Path,
    inputs: list[Any],
    output: tuple[int, ...],
    value: float,
    words: tuple[str, ...],
) -> None:
    write_graph(tmp_path / "net.onnx", *inputs, output=output, value=value)
    refused(cli(*TRY, "--data", few, "-t", "net.onnx"), 1, *words)


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_damaged_file_is_a_sentence(cli: Run, few: Path, tmp_path: Path, vgg: Path, kept: int) -> None:
    (tmp_path / "net.onnx").write_bytes(vgg.read_bytes()[:kept] if kept else b"no graph at all")
    refused(cli(*TRY, "--data", few, "-t", "net.onnx"), 1, "cannot open", "net.onnx: ", "may be damaged")


def test_a_graph_that_fails_is_a_sentence(tmp_path: Path) -> None:
    """One that was exported for 28 pixels but says that any size will do."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    file = export(network, tmp_path / "net.onnx", 2, 1, 28, 28, dynamic=(0, 2, 3))
    spec = load_zoo().models["fashion-mnist/vgg"].model_copy(update={"source": OnnxFile(file)})
    load.load_classifier(spec, FASHION)
    larger = FASHION.model_copy(update={"size": 30})
    with pytest.raises(
        ModelError, match=r"cannot classify images of 'fashion-mnist': .*pixels \(1, 30, 30\)"
    ):
        load.load_classifier(spec, larger)


def test_a_zoo_file_names_them_and_they_lie_beside_it(cli: Run, few: Path, tmp_path: Path, vgg: Path) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "net.onnx").write_bytes(vgg.read_bytes())
    mine = {"models": {"fashion-mnist": {"mine": {"roles": ["target"], "source": "onnx:net.onnx"}}}}
    (tmp_path / "zoo" / "mine.yaml").write_text(json.dumps(mine))
    plan = json.loads(
        cli(*TRY, "--data", few, "--zoo", "zoo/mine.yaml", "-t", "mine", "--dry-run", "--json").out
    )
    assert plan["models"]["fashion-mnist/mine"] == OnnxFile(vgg).identity()[0]
    shown = json.loads(cli("show", "mine", "--zoo", "zoo/mine.yaml", "--json").out)
    assert shown[0]["source"] == f"onnx:{tmp_path / 'zoo' / 'net.onnx'}"


def test_programs_load_them_as_targets(few: Path, vgg: Path) -> None:
    images = load_images(root=few)
    names = ("vgg", str(vgg), "resnet50-sgd")
    one, other, surrogate = map(load_model, names)
    attack, given = read_attack("bim", steps=3), (images.images[:20], images.labels[:20])
    found = evaluate(attack, surrogate, {"one": one, "other": other}, *given)
    assert len({record.outcomes for record in found.records}) == 1
    with pytest.raises(ModelError, match="no gradient reaches the images"):
        evaluate(attack, other, {"one": one}, *given)
