"""One network in eleven forms: the same answers, and the same attacks where gradients come back.

What is found is printed: `pytest -rP tests/models/test_forms.py`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers import mlserver
from helpers.checkpoints import data_folder
from helpers.refusals import ATTACK, refused
from helpers.same_network import FORMS, GRADIENTS, trained_transformers, vgg, write_forms
from helpers.short_attack import by_pair
from transferzoo import craft, load_images, load_model, read_attack, wrap
from transferzoo.base.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from helpers.refusals import Run
    from transferzoo.datasets import Batch

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
IMAGES = 100
MARGIN = 1e-3
"""Logits between the two likeliest classes: below, another order of sums may decide otherwise."""
ALLOWED = ("--architecture", "small_vgg", "--allow-code")
ATTACKED = ("attack", "--data", "data", "--images", IMAGES, "-a", "mi", "--epsilon", "16/255", "--steps", 3)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return vgg()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, network: Any) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        write_forms(folder, network)
    data_folder(folder / "data", range(IMAGES))
    return folder


@pytest.fixture(scope="module")
def served(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the name of the network as a real server answers for it."""
    with mlserver.serving(place / "plain.onnx", tmp_path_factory.mktemp("server") / "home") as url:
        yield f"oip:{url}"


@pytest.fixture(scope="module")
def known() -> Batch:
    return load_images().select(range(IMAGES))


@pytest.fixture(scope="module")
def adversarial(known: Batch) -> Tensor:
    attack = read_attack("mi", epsilon="16/255", steps=3)
    return craft(attack, load_model("resnet50-sgd"), known.images, known.labels, known.ids)


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Run) -> Iterator[Run]:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    yield lambda *arguments: cli(*arguments, "--runs", tmp_path / "runs")
    sys.modules.pop("own", None)


@pytest.fixture(params=[*FORMS, "served"])
def name(request: pytest.FixtureRequest) -> str:
    found = request.getfixturevalue("served") if request.param == "served" else request.param
    return str(found)


def loaded(name: str) -> Any:
    architecture = "small_vgg" if name in ("./bare.safetensors", "./parallel.pt") else ""
    return load_model(name, architecture=architecture, allow_code=True)


def first_signs(model: Any, known: Batch) -> Tensor:
    """Return where the first step of an attack goes."""
    images = (known.images / 255).requires_grad_()
    functional.cross_entropy(model(images), known.labels).backward()
    assert images.grad is not None
    return images.grad.sign()


def fooled(outcomes: str) -> float:
    return 100 * outcomes.count("1") / len(outcomes)


def test_every_form_answers_the_same(
    here: Run, network: nn.Module, known: Batch, adversarial: Tensor, name: str
) -> None:
    """Of clean and of adversarial images; where the likeliest class differs, two were as likely."""
    model, listed = loaded(name), []
    for kind, images in (("clean", known.images / 255), ("adversarial", adversarial / 255)):
        with torch.no_grad():
            expected, found = network(images), model(images)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
        margins = expected.topk(2).values.diff().abs().squeeze(1)
        other = (expected.argmax(1) != found.argmax(1)).nonzero().flatten().tolist()
        listed += [f"{kind} image {place}, margin {margins[place]:.1e}" for place in other]
        assert all(margins[place] < MARGIN for place in other)
        right = (found.argmax(1) == known.labels).float().mean()
        print(f"{name}, {kind}: {right:.1%} right, {int((margins < MARGIN).sum())} margins below {MARGIN}")
    print(f"{name}: other outcomes: {', '.join(listed) or 'none'}")


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_first_step_goes_the_same_way(here: Run, network: nn.Module, known: Batch, name: str) -> None:
    same = (first_signs(network, known) == first_signs(loaded(name), known)).float().mean()
    print(f"{name}: {same:.3%} of the signs agree")
    assert same >= 0.995


def test_every_form_is_attacked_alike(here: Run) -> None:
    names = [word for name in FORMS for word in ("-t", name)]
    found = by_pair(here(*ATTACKED, "-s", "resnet50-sgd", "-t", "vgg", *names, *ALLOWED, "--json"))
    assert len(found) == len(FORMS) + 1
    (outcomes,) = {record["outcomes"] for record in found.values()}
    assert 0 < fooled(outcomes) < 100


def test_a_served_form_is_attacked_alike(here: Run, served: str) -> None:
    found = by_pair(here(*ATTACKED, "-s", "resnet50-sgd", "-t", "vgg", "-t", served, "--json"))
    assert len(found) == 2
    (outcomes,) = {record["outcomes"] for record in found.values()}
    assert 0 < fooled(outcomes) < 100


def test_every_form_attacks_alike(here: Run) -> None:
    """Within a point of the built-in model, on the same images."""
    names = [word for name in ("vgg", *GRADIENTS) for word in ("-s", name)]
    found = by_pair(here(*ATTACKED, *names, "-t", "resnet18", *ALLOWED, "--json"))
    assert len(found) == len(GRADIENTS) + 1
    outcomes = {surrogate: record["outcomes"] for (surrogate, _), record in found.items()}
    best = outcomes["vgg"]
    for name, each in outcomes.items():
        apart = sum(a != b for a, b in zip(each, best, strict=True))
        print(f"{name}: fools {fooled(each):.2f} %, {apart} of {len(best)} outcomes differ from vgg's")
        assert abs(fooled(each) - fooled(best)) <= 1
    assert 0 < fooled(best) < 100


# ---------------------------------------------------------------- transformers


def test_transformers_is_what_its_library_makes_of_it(here: Run, place: Path, known: Batch) -> None:
    """As a target, as its image processor and model say; as a surrogate, as by hand."""
    others = load_images().select(range(200, 1000))
    model, processor = trained_transformers(place / "resnet", others)

    def by_hand(images: Tensor) -> Tensor:
        logits: Tensor = model(pixel_values=(images.expand(-1, 3, -1, -1) - 0.5) / 0.5).logits
        return logits

    assert [*processor.image_mean, *processor.image_std] == [0.5] * 6
    found = loaded("./resnet")
    given = processor(images=list(known.images.expand(-1, 3, -1, -1)), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model(pixel_values=given).logits.argmax(1)
        assert torch.equal(found(known.images / 255).argmax(1), expected)
    right = (expected == known.labels).float().mean()
    same = (first_signs(found, known) == first_signs(by_hand, known)).float().mean()
    print(f"./resnet: {right:.1%} right, {same:.3%} of the signs agree")
    assert right > 0.6
    assert same >= 0.995
    attack, target = read_attack("mi", epsilon="16/255", steps=3), load_model("resnet18")
    ways = found, wrap(model, processor=processor)
    crafted = [craft(attack, each, known.images, known.labels, known.ids) for each in ways]
    with torch.no_grad():
        wrong = [(target(images / 255).argmax(1) != known.labels).float().mean() * 100 for images in crafted]
    assert abs(wrong[0] - wrong[1]) <= 1


# ---------------------------------------------------------------- programs

ASKED = "is code, which is not run unasked"


@pytest.mark.parametrize("name", ["scripted.pt", "exported.pt2", "program:scripted.pt"])
def test_programs_are_not_run_unasked(here: Run, name: str) -> None:
    refused(here(*ATTACK, "-t", name), 2, ASKED, "--allow-code")
    with pytest.raises(UsageError, match=ASKED):
        load_model(name)


@pytest.mark.parametrize("name", ["broken.pt2", "program:broken.pt"])
def test_a_damaged_program_is_a_sentence(
    place: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for ending, of in (("pt2", "exported.pt2"), ("pt", "scripted.pt")):
        (tmp_path / f"broken.{ending}").write_bytes((place / of).read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"torch cannot load the program .*save it again"):
        load_model(name, allow_code=True)
    assert not caplog.records


def test_programs_of_other_images_are_a_sentence(tmp_path: Path) -> None:
    program = torch.export.export(nn.Flatten(), (torch.zeros(2, 1, 28, 28),))
    torch.export.save(program, tmp_path / "flat.pt2")
    with pytest.raises(ModelError, match="does not classify like the data set"):
        load_model(str(tmp_path / "flat.pt2"), allow_code=True)
    program = torch.export.export(nn.Linear(5, 10), (torch.zeros(2, 5),))
    torch.export.save(program, tmp_path / "linear.pt2")
    with pytest.raises(ModelError, match="cannot classify images of 'fashion-mnist'"):
        load_model(str(tmp_path / "linear.pt2"), allow_code=True)
