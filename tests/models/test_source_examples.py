"""What `transferzoo list sources` and the table of models/README.md say, run line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import WeightsEnum, _api
from torchvision.models._api import Weights, register_model
from torchvision.transforms._presets import ImageClassification

import transferzoo
from helpers.checkpoints import BUILTIN, copied
from helpers.exported import Normalised, export
from helpers.foreign_models import (
    FASHION,
    TinyNet,
    fit_transformers,
    fitted_keras,
    fitted_tiny,
    hashed_name,
    save_clip,
    small_vit,
)
from helpers.hub_server import COMMIT, connect, running
from helpers.oip_server import Served, serving
from helpers.short_attack import TRY
from transferzoo import load_model
from transferzoo.models.sources.keras_file import package
from transferzoo.zoo.model_source import forms
from transferzoo.zoo.source_facts import Example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from helpers.refusals import Run

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
README = Path(transferzoo.__file__).parent / "models" / "README.md"
READS = partial(ImageClassification, crop_size=28, resize_size=28)
EXAMPLES = [example for form in forms() for example in form.examples]
OWN = """
from transferzoo import load_model
def make(): return load_model('vgg')
def answer(): return lambda images: make()(images)
def predict(images): return make()(images)
def classify(images): return predict(images).argmax(1)
"""


def test_the_table_has_every_example() -> None:
    rows = re.findall(r"^\| (.+?) \| `(.+)` \| (yes|no) \| yes \| (?:`(.*)` )?\|$", README.read_text(), re.M)
    (zoo, *others) = [Example(have, written, needs, surrogate) for have, written, surrogate, needs in rows]
    assert zoo.have == "a model of the zoo"
    assert others == EXAMPLES


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, few: Path) -> Path:
    """Return a folder with all that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    model = load_model("vgg")
    network = Normalised(model.model, float(model.mean), float(model.std)).eval()
    weights = load_file(BUILTIN / "vgg" / "model.safetensors")
    copied("vgg", folder / "my-model")
    save_file(weights, folder / "net.safetensors")
    torch.save({"state_dict": weights}, folder / "net.pt")
    export(network, folder / "net.onnx", 2, 1, 28, 28)
    with warnings.catch_warnings(action="ignore"):
        black = torch.zeros(2, 1, 28, 28)
        program = torch.export.export(network, (black,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, folder / "net.pt2")
        torch.jit.save(torch.jit.trace(network, black), folder / "scripted.pt")
        fitted_keras(package(), few, scale=1 / 255, end="softmax").save(folder / "net.keras")
    (folder / "own").mkdir()
    (folder / "own" / "models.py").write_text(OWN)
    transformers: Any = sys.modules.get("transformers") or __import__("transformers")
    torch.manual_seed(0)
    vit, processor = small_vit(28), transformers.ViTImageProcessor(size={"height": 28, "width": 28})
    fit_transformers(vit, processor, few)
    transformers.utils.logging.disable_progress_bar()
    vit.save_pretrained(folder / "my-vit")
    processor.save_pretrained(folder / "my-vit")
    save_clip(folder / "my-clip", few)
    return folder


def answers(images: NDArray[Any]) -> NDArray[Any]:
    with torch.no_grad():
        found: NDArray[Any] = load_model("vgg")(torch.tensor(images)).numpy()
    return found


@pytest.fixture(scope="module")
def tiny(few: Path) -> bytes:
    """Return a file of weights for torchvision."""
    return fitted_tiny(few, READS())


@pytest.fixture
def here(
    place: Path, tiny: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Run
) -> Iterator[Run]:
    """Work there; the Hub and the cache of torchvision have what the examples name too."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / hashed_name(tiny)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(tiny)

    class ResNet50_Weights(WeightsEnum):  # type: ignore[misc]
        IMAGENET1K_V1 = Weights(kept.as_uri(), READS, {"categories": [*reversed(FASHION.classes)]})
        DEFAULT = IMAGENET1K_V1

    def resnet50(*, weights: ResNet50_Weights | None = None, progress: bool = True) -> TinyNet:
        model = TinyNet()
        model.load_state_dict(weights.get_state_dict(progress=progress) if weights else {})
        return model

    resnet50.__annotations__["weights"] = ResNet50_Weights  # `get_model_weights` reads it
    others = {name: model for name, model in _api.BUILTIN_MODELS.items() if name != "resnet50"}
    monkeypatch.setattr(_api, "BUILTIN_MODELS", others)
    register_model()(resnet50)
    repositories = {"OWNER/NAME": "my-model", "OWNER/OTHER": "my-vit", "OWNER/CLIP": "my-clip"}
    repositories["laion/CLIP-ViT-B-32-laion2B-s34B-b79K"] = "my-clip"
    repositories |= {f"timm/resnet18.{tag}": "my-model" for tag in ("a1_in1k", "fb_swsl_ig1b_ft_in1k")}
    files = {
        f"{repo}/{file.name}": file.read_bytes()
        for repo, folder in repositories.items()
        for file in (place / folder).iterdir()
    }
    served = Served(answers, output=("FP32", (-1, 10)))
    with running(files) as hub, serving(served) as url:
        connect(monkeypatch, hub, tmp_path / "client")
        yield lambda *arguments: cli(
            *(re.sub(r"^oip:.*", f"oip:{url}", str(each)) for each in arguments), "--runs", tmp_path / "runs"
        )
    for name in ("own", "own.models"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.written)
def test_every_example_does_what_it_says(here: Run, few: Path, example: Example) -> None:
    name, *options = example.written.replace("REVISION", COMMIT).split()
    command = ("attack", *TRY[5:], "--data", few, *options, "--json", "-t", name)
    done = here(*command, "-s", name)
    if example.surrogate != "yes":
        assert done.code == 2
        assert "no gradient comes back from it" in done.err.splitlines()[-1]
        done = here(*command, "-s", "resnet50-sgd")
    assert done.code == 0, done.err
    (record,) = json.loads(done.out)["records"]
    assert record["target_accuracy"] > 0.5, "or it is another model"


def test_nothing_heavy_is_imported_to_list_them() -> None:
    code = """
import sys
from transferzoo.cli.app import main
sys.argv = ["transferzoo", "list", "sources", "--json"]
try:
    main()
except SystemExit:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert [entry["you write"] for entry in json.loads(done.stdout)] == [one.written for one in EXAMPLES]
    imported = set(done.stderr.splitlines()[-1].split())
    assert "transferzoo" in imported
    assert not imported & {
        "torch",
        "timm",
        "torchvision",
        "transformers",
        "keras",
        "onnxruntime",
        "httpx2",
        "open_clip",
    }
