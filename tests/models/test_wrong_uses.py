"""Wrong uses of every form of models, classes and data: one sentence each, with the next step."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from helpers.hub_server import connect, running
from helpers.oip_server import Fault, Served, serving
from helpers.refusals import ATTACK
from helpers.wrong_models import write_wrong_models
from transferzoo.models.served import TOKEN
from transferzoo.models.sources import python_function, served_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


class Wrong(NamedTuple):
    """A wrong use, and what is said of it.

    Attributes:
        words: behind a command that is right.
        what: is wrong, as the sentence says it.
        then: the next step, as the sentence ends.
        code: exit code.
        missing: a package that is not installed.
    """

    words: str
    what: str
    then: str
    code: int = 2
    missing: str = ""


SOURCES = "`transferzoo list sources` has examples"
MAP = "--classes FILE"
HEAD = "its head tells 5 classes apart."
"""What is said of weights that are read already."""
NAMES = [
    Wrong("-t vggg", "unknown target 'vggg'", "did you mean vgg"),
    Wrong("-t owner/mine", "unknown target 'owner/mine'", "did you mean hf-hub:owner/mine"),
    Wrong("-t torchhub:resnet18", "'torchhub:' in 'torchhub:resnet18' is neither a form", SOURCES),
    Wrong("-t hf_hub:owner/mine", "'hf_hub:' in 'hf_hub:owner/mine' is neither", "mean hf-hub:owner/mine?"),
    Wrong("-t ./nowhere", "there is no './nowhere'", "check its path."),
    Wrong("-t nowhere.onnx", "there is no 'nowhere.onnx'", "check its path."),
    Wrong("-t notes.txt", "'notes.txt' is no model", SOURCES),
    Wrong("-t train:", "'train:' stands for no model by itself", "transferzoo list targets"),
    Wrong("-t timm:resnet81", "unknown model 'resnet81' of timm", "did you mean resnet18"),
    Wrong("-t timm:small_vgg", "timm has no weights of 'small_vgg'", "--architecture small_vgg"),
    Wrong("-t torchvision:resnet81", "unknown model 'resnet81' of torchvision", "did you mean resnet18"),
    Wrong("-t torchvision:vgg11:IMAGENET1K_V9", "unknown weights 'IMAGENET1K_V9'", "mean IMAGENET1K_V1"),
    Wrong("-t torchvision:a:b:c", "'a:b:c' is no model of torchvision", "torchvision:NAME[:WEIGHTS]"),
    Wrong(
        "-t torchvision:fasterrcnn_resnet50_fpn", "is no classifier of images", "such as torchvision:resnet50"
    ),
    Wrong("-t hf-hub:mine", "'mine' is no repository of the Hub", "hf-hub:OWNER/NAME[@REVISION]"),
    Wrong("-t open_clip:ViT-B-32", "'ViT-B-32' is no model of open_clip", "open_clip:ARCHITECTURE/TAG"),
    Wrong("-t open_clip:ViT-B-33/openai", "unknown model 'ViT-B-33' of open_clip", "did you mean ViT-B-32"),
    Wrong("-s vgg|bits:depth=3", "a surrogate has no defence", "'vgg'"),
    Wrong("-t cifar10/vgg16-bn --dataset fashion-mnist", "belongs to another data set", "--dataset cifar10"),
]
FILES = [
    Wrong("-t net.pth", "'net.pth' does not say which network its weights fit", "--architecture SPEC"),
    Wrong("-t net.pth --architecture own:make", "'own:make' is no architecture", "MODULE:FUNCTION"),
    Wrong("-t ./NET.PT", "'./NET.PT' does not say which network its weights fit", "--architecture SPEC"),
    Wrong("-s net.bin", "'net.bin' does not say which network its weights fit", "--architecture SPEC"),
    Wrong(
        "-t net.pt --architecture small_vg", "unknown architecture 'small_vg'", "did you mean small_vgg", 1
    ),
    Wrong("-t net.pt --architecture small_resnet18", "do not fit their architecture", "check the arch", 1),
    Wrong("-t five.safetensors --architecture small_vgg", "'five' has the wrong number of classes", MAP, 1),
    Wrong("-t net.pth --architecture small_vgg", "net.pth is not read: it is damaged", "again", 1),
    Wrong("-t torn.pt", "'torn.pt' does not say which network its weights fit", "--architecture SPEC"),
    Wrong("-t torn.pt --architecture small_vgg", "torn.pt is not read: it is damaged", "again", 1),
    Wrong("-t cut.safetensors --architecture small_vgg", "cannot read the weights", "again", 1),
    Wrong(
        "-t whole.pt --architecture small_vgg", "whole.pt is not read: it needs", "`state_dict()` alone", 1
    ),
    Wrong(
        "-t numbers.pt --architecture small_vgg",
        "numbers.pt holds no weights",
        "save the model's `state_dict()`",
        1,
    ),
    Wrong("-t mine/model.safetensors", "does not say which network", "or name its folder"),
    Wrong(
        "--architecture small_vgg", "no weights for the architecture 'small_vgg'", "leave the architecture"
    ),
    Wrong("--mean 0.1", "no weights that --mean and --std are about", "leave them out"),
    Wrong("-t net.pt --architecture small_vgg --mean a", "--mean cannot be read", "0.485,0.456,0.406"),
    Wrong("-t net.pt --architecture small_vgg --mean nan", "--mean cannot be read", "0.485,0.456,0.406"),
    Wrong("-t net.pt --architecture small_vgg --std 0", "--std cannot be read", "0.485,0.456,0.406"),
    Wrong("-t net.pt --architecture small_vgg --mean 1,2", "--mean does not fit 'fashion-mnist'", "1 value"),
    Wrong("-t net.h5", "'net.h5' is a model of TensorFlow", "tf2onnx.convert --keras net.h5 --output"),
    Wrong("-t net.hdf5", "'net.hdf5' is a model of TensorFlow", "tf2onnx.convert --keras net.hdf5 --output"),
    Wrong("-t net.tflite", "'net.tflite' is a model of TensorFlow", "tf2onnx.convert --tflite net.tflite"),
    Wrong("-t saved", "'saved' is a model of TensorFlow", "tf2onnx.convert --saved-model saved --output"),
    Wrong("-t scripted.pt2", "is code, which is not run unasked", "add --allow-code"),
    Wrong("-t scripted.pt2 --allow-code", "torch cannot load the program", "save it again", 1),
    Wrong("-t damaged.onnx", "damaged.onnx: InvalidProtobuf", "may be damaged", 1),
    Wrong("-t flat.onnx", "flat.onnx cannot read images", "export it with such an input", 1),
    Wrong("-t nine.onnx", "'nine' has the wrong number of classes", MAP, 1),
    Wrong("-t nan.onnx", "'nan.onnx' returns NaN", "check what it makes of black images", 1),
    Wrong("-s good.onnx", "'good' is no surrogate: no gradient comes back from it", "use it as a target"),
]
FOLDERS = [
    Wrong("-t ./five", "'five' has the wrong number of classes", MAP, 1),
    Wrong("-t ./bare", "is not a checkpoint folder", "name a folder that `transferzoo train` wrote", 1),
    Wrong(
        "-t ./empty", "empty is not a checkpoint folder", "name a folder that `transferzoo train` wrote", 1
    ),
    Wrong("-t ./torn", "torn/config.json: expected timm's", "copy or train it again", 1),
    Wrong("-t ./light", "light holds no weights", "copy or train it again", 1),
    Wrong("-t ./unread", "nothing says how pixels are read by the model in", "processor.save_pretrained", 1),
    Wrong("-t ./text", "transformers cannot load the classifier in", "can be used", 1),
    Wrong("-t hf-hub:owner/gone", "owner/gone", "check", 1),
    Wrong("-t hf-hub:owner/text", "transformers cannot load the classifier in", "can be used", 1),
    Wrong("-t hf-hub:owner/other", "owner/other holds no image classifier", "describe its weight file", 1),
    Wrong("-t hf-hub:owner/unread", "owner/unread holds no image classifier", "describe its weight file", 1),
]
EXTRAS = [
    Wrong("-t good.onnx", "good.onnx without onnxruntime", "pip install", 1, "onnxruntime"),
    Wrong("-t net.keras", "models of Keras need keras", "pip install 'transferzoo[keras]'", 1, "keras"),
    Wrong("-t ./vit", "models of transformers need transformers", "transferzoo[transf", 1, "transformers"),
    Wrong("-t ./clip", "models of open_clip need open_clip", "transferzoo[open_clip]", 1, "open_clip"),
    Wrong(
        "--data hf-datasets:owner/set", "hf-datasets: needs", "pip install 'transferzoo[data", 1, "datasets"
    ),
]
CODE = [
    Wrong("-t own:make", "'own:make' is code, which is not run unasked", "add --allow-code"),
    Wrong("-t python:own --allow-code", "'own' is no function", "MODULE:FUNCTION"),
    Wrong("-t own.py:make --allow-code", "'own.py' is a file", "did you mean own:make?"),
    Wrong("-t own:mak --allow-code", "unknown function 'mak' of own", "did you mean make"),
    Wrong("-t own:number --allow-code", "'own:number' is no function", "one that returns a model", 1),
    Wrong("-t own:nothing --allow-code", "'own:nothing' returns no model", "a function of images", 1),
    Wrong("-t own:both --allow-code", "'own:both' takes other arguments", "write a function around it", 1),
    Wrong("-t own:make --allow-code", "cannot classify images of 'fashion-mnist'", "(1, 28, 28)", 1),
    Wrong("-t own:nine --allow-code", "'own:nine' does not classify like the data set", MAP, 1),
    Wrong("-t own:ten --allow-code", "a class that there is not", MAP, 1),
    Wrong(
        "-t own:fails --allow-code",
        "fails on images of shape (2, 1, 28, 28): ZeroDivision",
        "call it on torch.rand",
        1,
    ),
    Wrong(
        "-t own:text --allow-code", "'own:text' returns no scores", "let it return a tensor or an array", 1
    ),
]
OPTIONS = [
    Wrong("--prompt a_{}", "there is no zero-shot model that --prompt is about", "leave it out"),
    Wrong("--requests-per-second 2", "no served model that --requests-per-second is about", "leave it out"),
    Wrong("--requests-per-second 0", "--requests-per-second is out of range", "above 0"),
    Wrong("--classes right.csv", "right.csv is for models that do not name their classes", "keeps them"),
    Wrong("-t ./five --classes none.csv", "cannot read none.csv", "columns data"),
    Wrong("-t ./five --classes columns.csv", "cannot read columns.csv", "columns data"),
    Wrong("-t ./five --classes unknown.csv", "no class of 'fashion-mnist'", "'Hat'"),
    Wrong("-t ./five --classes twice.csv", "cannot read twice.csv", "each number once"),
    Wrong("-t ./five --classes same.csv", "same.csv has a class of the data twice", "each once"),
    Wrong("-t ./five --classes large.csv", "large.csv does not fit 'five'", "numbers in 0..4"),
    Wrong("--data nowhere", "nowhere", "check --data", 1),
    Wrong("--data empty", "empty holds no", "check --data", 1),
    Wrong("--data empty --image-column image", "that the library datasets reads", "got empty"),
    Wrong("--label-column label", "that the library datasets reads", "hf-datasets:OWNER/NAME[:CONFIG]"),
    Wrong("--data hf-datasets:empty", "'hf-datasets:empty' is no data set", "mean hf-datasets:./empty?"),
    Wrong("--data hf-datasets:./nowhere", "there is no folder './nowhere'", "check --data"),
    Wrong("--data hf-datasets:owner/set/part", "is no data set", "hf-datasets:OWNER/NAME[:CONFIG]"),
    Wrong("--dataset mnist", "unknown data set 'mnist'", "did you mean fashion-mnist"),
    Wrong("--split tset", "unknown split 'tset'", "did you mean test"),
]
EVERY = [*NAMES, *FILES, *FOLDERS, *EXTRAS, *CODE, *OPTIONS]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    write_wrong_models(folder)
    return folder


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Run) -> Iterator[Run]:
    """Run commands in that folder, with a Hub that has models that cannot be used."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = ("text", "unread")
    hub = {
        f"owner/{name}/{file.name}": file.read_bytes() for name in names for file in (place / name).iterdir()
    }
    with running({**hub, "owner/other/README.md": b"no model"}) as found:
        connect(monkeypatch, found, tmp_path / "hub")
        yield cli
    sys.modules.pop("own", None)
    python_function.facts.cache_clear()


def sentence(here: Run, few: Path, code: int, *words: str) -> str:
    """Run an attack that cannot work; return the one sentence it ends with."""
    result = here(*ATTACK, *(() if "--data" in words else ("--data", few)), *words)
    assert (result.code, result.out) == (code, ""), result
    assert "Traceback" not in result.err
    *before, line = result.err.splitlines()
    assert re.fullmatch(r"Error: .+[^.?][.?]", line), line
    told = ("Running code that --allow-code allows: ", *(("Data: ",) if code == 1 else ()))
    before = [one for one in before if not one.endswith(HEAD)]
    assert all(one.startswith(told) for one in before), "nothing is told of a wrong request but what is wrong"
    return line


@pytest.mark.parametrize("wrong", EVERY, ids=lambda wrong: f"{wrong.words} {wrong.missing}".strip())
def test_one_sentence_with_the_next_step(
    here: Run, few: Path, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wrong.missing:
        monkeypatch.setitem(sys.modules, wrong.missing, None)
    line = sentence(here, few, wrong.code, *wrong.words.split())
    what, then = line.find(wrong.what), line.find(wrong.then)
    assert 0 <= what < then, line


def scores(images: NDArray[Any]) -> NDArray[Any]:
    return np.zeros((len(images), 10), np.float32)


ADDRESS = "http(s)://HOST/v2/models/NAME"
SERVED = {
    "gone": (Served(scores), "there is no model at", "of one that runs"),
    "500": (Served(scores, faults=[Fault(500, '{"error": "no memory"}')]), "(500", "log"),
    "redirect": (Served(scores, faults=[Fault(302, "", (("Location", "/x"),))]), "(302", "address"),
    "text": (Served(lambda images: np.full((len(images), 10), "x")), "something else than its", "server"),
    "nine": (Served(lambda images: scores(images)[:, :9]), "does not classify like the data set", MAP),
    "fewer": (Served(lambda images: scores(images)[:-1]), "gives no classes of the images", "server"),
    "nan": (Served(lambda images: scores(images) * np.nan), "NaN or infinity", "server"),
    "9 declared": (Served(scores, output=("FP32", (-1, 9))), "has the wrong number of classes", MAP),
    "no images": (Served(scores, datatype="BYTES"), "cannot read images", "let the server declare it"),
    "no protocol": (Served(scores, metadata=[]), "does not speak the Open Inference Protocol", ADDRESS),
}


@pytest.mark.parametrize("kind", SERVED)
def test_served_models_that_answer_otherwise(here: Run, few: Path, kind: str) -> None:
    service, what, then = SERVED[kind]
    with serving(service) as url:
        served_model._metadata.cache_clear()
        name = url.removesuffix("net") + "other" if kind == "gone" else url
        line = sentence(here, few, 1, "-t", f"oip:{name}", "--allow-inaccurate")
    assert 0 <= line.find(what) < line.find(then), line


@pytest.mark.parametrize(
    "address",
    [
        "",
        "net",
        "ftp://host/v2/models/net",
        "http://host/v2/models/",
        "http://host/v1/models/net",
        "http:///v2/models/net",
        "http://me:secret@host/v2/models/net",
        "http://host/v2/models/net?key=secret",
    ],
)
def test_what_is_no_address(here: Run, few: Path, address: str) -> None:
    line = sentence(here, few, 2, "-t", f"oip:{address}")
    assert line.index("'oip:' is followed by") < line.index(ADDRESS) < line.index(TOKEN)
    assert "secret" not in line


def test_a_server_that_is_not_there(here: Run, few: Path) -> None:
    with serving(Served(scores)) as url:
        pass
    served_model._metadata.cache_clear()
    line = sentence(here, few, 1, "-t", f"oip:{url}")
    assert line.index("cannot be reached") < line.index("check the address and whether the server runs")


def test_there_are_forty() -> None:
    assert len(EVERY) >= 40
