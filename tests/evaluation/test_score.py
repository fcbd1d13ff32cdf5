"""`score`: images that others made, counted as a loop over them counts, and as the attack that made them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

from helpers.checkpoints import copied, with_classes
from helpers.refusals import refused
from transferzoo.api import load_images, load_model
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.page.example_images import row_examples
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
N = 40
TARGETS = ("vgg", "vit")
CLASSES = load_zoo().dataset("fashion-mnist").classes


@pytest.fixture(scope="module")
def batch() -> Any:
    return load_images("fashion-mnist").select(range(N))


def write_png(image: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[0].numpy()).save(path)


@pytest.fixture(scope="module")
def adversarial(batch: Any) -> Tensor:
    """A step of gradient signs on the surrogate, 16 levels long."""
    model = load_model("resnet50-sam")
    pixels = (batch.images / 255).requires_grad_()
    torch.nn.functional.cross_entropy(model(pixels), batch.labels).backward()
    assert pixels.grad is not None
    moved = batch.images.short() + 16 * pixels.grad.sign().short()
    bounded: Tensor = moved.clamp(0, 255).to(torch.uint8)
    return bounded


@pytest.fixture
def folders(batch: Any, adversarial: Tensor, tmp_path: Path) -> Path:
    """Write clean images in class folders and adversarial ones in one folder, under the same names."""
    for at, (clean, image, label) in enumerate(
        zip(batch.images, adversarial, batch.labels.tolist(), strict=True)
    ):
        write_png(clean, tmp_path / "clean" / CLASSES[label].replace("/", " ") / f"picture-{at}.png")
        write_png(image, tmp_path / "adv" / f"picture-{at}.png")
    return tmp_path


def looped(images: Tensor, batch: Any) -> dict[str, int]:
    """Return how many images that every target gets right each target gets wrong then."""
    models = {name: load_model(name) for name in TARGETS}
    with torch.no_grad():
        before = {name: model(batch.images / 255).argmax(1) for name, model in models.items()}
        after = {name: model(images / 255).argmax(1) for name, model in models.items()}
    right = torch.stack([found == batch.labels for found in before.values()]).all(0)
    return {name: int((found != batch.labels)[right].sum()) for name, found in after.items()}


def scored(cli: Run, *words: object) -> dict[str, Any]:
    done = cli("score", *words, "--json")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def successes(found: dict[str, Any]) -> dict[str, int]:
    return {one["target"].partition("/")[2]: one["successes"] for one in found["records"]}


def test_as_a_loop_counts(cli: Run, folders: Path, batch: Any, adversarial: Tensor) -> None:
    found = scored(cli, "adv", "--clean", "clean", "--dataset", "fashion-mnist", "-t", ",".join(TARGETS))
    assert successes(found) == looped(adversarial, batch)
    assert {one["attack"] for one in found["records"]} == {"given@linf,eps=16/255"}
    assert len(found["noise"]) == len(TARGETS)
    assert "random noise of the same budget" in found["conclusion"]


def test_images_that_torchattacks_made(cli: Run, batch: Any, folders: Path, torchattacks: ModuleType) -> None:
    attack = torchattacks.MIFGSM(load_model("resnet50-sam"), eps=16 / 255, alpha=4 / 255, steps=5)
    made = (attack(batch.images / 255, batch.labels) * 255).round().to(torch.uint8)
    for at, image in enumerate(made):
        write_png(image, folders / "made" / f"picture-{at}.png")
    found = scored(cli, "made", "--clean", "clean", "--dataset", "fashion-mnist", "-t", ",".join(TARGETS))
    assert successes(found) == looped(made, batch)


def test_a_folder_as_transferattack_has_it(cli: Run, batch: Any, adversarial: Tensor, tmp_path: Path) -> None:
    """`labels.csv` beside `images/`, and one flat folder of results under the same names."""
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["filename", "label", "targeted_label"])
        rows.writerows((f"{at}.png", label, 0) for at, label in enumerate(batch.labels.tolist()))
    for at, (clean, image) in enumerate(zip(batch.images, adversarial, strict=True)):
        write_png(clean, tmp_path / "data" / "images" / f"{at}.png")
        write_png(image, tmp_path / "results" / "mifgsm" / f"{at}.png")
    shutil.copy(tmp_path / "labels.csv", tmp_path / "data")
    words = ("results/mifgsm", "-t", ",".join(TARGETS), "--dataset", "fashion-mnist")
    wanted = looped(adversarial, batch)
    assert successes(scored(cli, *words, "--clean", "data")) == wanted
    apart = scored(cli, *words, "--clean", "data/images", "--labels", "labels.csv")
    assert successes(apart) == wanted


def test_what_attack_saved_scores_as_it_did(cli: Run) -> None:
    """Pictures are called by the ids of the built-in images; `--clean` is not needed."""
    words = ("-s", "resnet50-sam", "-t", ",".join(TARGETS), "--images", 30, "--steps", 3)
    done = cli("attack", *words, "--save-images", "pictures", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    (home,) = {path.parent for path in Path("pictures").rglob("*.png") if path.stem[0].isdecimal()}
    assert [*home.glob("sheet*")], "it is no adversarial image"
    found = scored(cli, home, "-t", ",".join(TARGETS), "--eps", "16/255")
    assert [one["outcomes"] for one in found["records"]] == [one["outcomes"] for one in made["records"]]
    assert [one["outcomes"] for one in found["noise"]] == [one["outcomes"] for one in made["noise"]]


def test_several_folders_are_compared(cli: Run, folders: Path, batch: Any) -> None:
    for at, image in enumerate(batch.images):
        write_png(image ^ 8, folders / "weak" / f"picture-{at}.png")
    done = cli("score", "adv", "weak", "--clean", "clean", "--dataset", "fashion-mnist", "-t", "vgg,vit")
    assert done.code == 0, done.err
    assert "Paired tests against adv" in done.out
    assert "images as they were given" in done.out
    assert "Perturbations of weak: at most 8 levels of 255" in done.err


@pytest.mark.parametrize(
    ("form", "extra"), [("labels", ()), ("scores", ()), ("names", ("--images-correct-for", "none"))]
)
def test_predictions_of_a_target_that_is_elsewhere(
    cli: Run, folders: Path, batch: Any, adversarial: Tensor, form: str, extra: tuple[str, ...]
) -> None:
    """The same outcomes as of the model itself, whatever the file says of it: classes, names or scores."""
    model = load_model("vgg")
    with torch.no_grad():
        logits, before = model(adversarial / 255), model(batch.images / 255).argmax(1)
    lines = []
    for at, (scores, clean) in enumerate(zip(logits.tolist(), before.tolist(), strict=True)):
        best = max(range(10), key=scores.__getitem__)
        row: dict[Any, Any] = {"label": best if form == "labels" else CLASSES[best]}
        if form == "scores":
            row = dict(enumerate(scores))
        lines.append({"id": f"picture-{at}.png", **row, "clean": clean})
    with Path("phone.csv").open("w", newline="") as stream:
        rows = csv.DictWriter(stream, fieldnames=list(lines[0]))
        rows.writeheader()
        rows.writerows(lines)
    words = ("adv", "--clean", "clean", "--dataset", "fashion-mnist", *extra)
    found = scored(cli, *words, "-t", "vgg", "--predictions", "phone.csv")
    one, phone = found["records"]
    assert phone["target"] == "fashion-mnist/phone"
    assert phone["outcomes"] == one["outcomes"]
    assert {noise["target"] for noise in found["noise"]} == {"fashion-mnist/vgg"}
    alone = scored(cli, *words, "--predictions", "phone.csv")
    assert [record["outcomes"] for record in alone["records"]] == [one["outcomes"]]


def test_classes_of_targets_are_those_of_a_file_or_of_their_names(
    cli: Run, folders: Path, batch: Any
) -> None:
    """As for `attack`: a head of another order by a file, and images of unknown classes left out."""
    words = ("adv", "--clean", "clean", "--dataset", "fashion-mnist")
    (expected,) = scored(cli, *words, "-t", "vgg")["records"]
    order = (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
    with_classes(copied("vgg", folders / "swapped"), order, None)
    done = cli("score", *words, "-t", "./swapped")
    assert done.code == 1
    assert "in another order it would be right on" in done.err and "--classes FILE" in done.err
    rows = [f"{CLASSES[at]},{place}" for place, at in enumerate(order)]
    (folders / "map.csv").write_text("\n".join(["data,model", *rows]))
    (mapped,) = scored(cli, *words, "-t", "./swapped", "--classes", "map.csv")["records"]
    assert mapped["outcomes"] == expected["outcomes"]
    kept = (3, 2, 1, 0, 4, 5, 8, 9)
    with_classes(copied("vgg", folders / "less"), kept, [CLASSES[at] for at in kept])
    (less,) = scored(cli, *words, "-t", "./less", "--images-correct-for", "none")["records"]
    assert less["n"] == sum(label in kept for label in batch.labels.tolist())
    (folders / "phone.csv").write_text("id,label\n")
    refused = cli("score", *words, "-t", "./less", "--predictions", "phone.csv")
    assert refused.code == 2 and "--predictions are of all classes: expected targets that know" in refused.err


def test_what_is_beyond_the_budget_and_what_has_no_twin_is_named(cli: Run, folders: Path) -> None:
    shutil.copy(folders / "adv" / "picture-0.png", folders / "adv" / "stranger.png")
    done = cli(
        "score", "adv", "--clean", "clean", "--dataset", "fashion-mnist", "-t", "vgg", "--eps", "8/255"
    )
    assert done.code == 0, done.err
    assert f"{N} of {N} images are beyond 8/255 (picture-" in done.err
    assert f"Left out: 1 of {N + 1} images of adv have no clean twin (stranger.png)." in done.err


def test_a_report_of_its_run_folder_says_the_same(cli: Run, folders: Path) -> None:
    done = cli("score", "adv", "--clean", "clean", "--dataset", "fashion-mnist", "-t", "vgg,vit")
    place = next(line for line in done.err.splitlines() if line.startswith("Run folder: "))
    again = cli("report", place.partition(": ")[2])
    assert again.code == 0, again.err
    assert done.out.split("Success rate of")[1] == again.out.split("Success rate of")[1]


def test_its_page_shows_the_images(cli: Run, folders: Path, batch: Any, adversarial: Tensor) -> None:
    """The clean images of somebody's own folder, the adversarial ones, and what the target says of them."""
    done = cli("score", "adv", "--clean", "clean", "--dataset", "fashion-mnist", "-t", "vgg")
    place = next(line for line in done.err.splitlines() if line.startswith("Run folder: "))
    shutil.rmtree("clean")
    (found,) = row_examples([RunFolder(Path(place.partition(": ")[2]))])
    assert [*found.pictures] == ["clean", "adversarial", "difference"]
    vgg, (cell,) = load_model("vgg"), found.cells
    assert len(found.columns) == len(cell.outcomes) == 5
    for at in range(5):
        clean, shown = (
            torch.tensor([*Image.open(io.BytesIO(found.pictures[version][at].png)).tobytes()]).reshape(
                1, 28, 28
            )
            for version in ("clean", "adversarial")
        )
        (place_of,) = (at for at, image in enumerate(batch.images) if torch.equal(image, clean))
        assert torch.equal(adversarial[place_of], shown)
        with torch.no_grad():
            predicted = CLASSES[int(vgg(shown[None] / 255).argmax())]
        assert cell.outcomes[at].startswith(f"{predicted}\n")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("nothing",), 1, "there is no nothing: expected a folder or archive"),
        (("fashion-mnist-tree",), 1, "or a pack; did you mean fashion-mnist-three?"),
        (("empty",), 1, "empty holds no image"),
        (("adv", "--clean", "other"), 1, "no adversarial image has a clean twin"),
        (("clean", "--clean", "clean"), 2, "the adversarial images are the clean ones"),
        (("adv", "--clean", "clean", "--norm", "l7"), 2, "unknown norm 'l7'"),
        (("adv", "--clean", "clean", "--eps", "16"), 2, "epsilon"),
        (("adv", "--clean", "clean", "--predictions", "no.csv"), 1, "no.csv cannot be read"),
        (("adv", "--clean", "clean", "--predictions", "few.csv"), 1, "few.csv has no prediction of 39 of 40"),
        (
            ("adv", "--clean", "clean", "--predictions", "numbers.csv"),
            1,
            "expected a line for each, such as picture-10, under its file's name, got lines of 0, 1",
        ),
        (("adv", "--clean", "clean", "--predictions", "odd.csv"), 1, "odd.csv lacks a column"),
        (("adv", "adv", "--clean", "clean", "--predictions", "few.csv"), 2, "predictions are of one folder"),
        (("adv", "--clean", "clean", "--labels", "no.csv"), 1, "there is no list no.csv"),
        (("large", "--clean", "clean"), 2, "the images of large do not fit 'fashion-mnist'"),
    ],
)
def test_mistakes_are_one_sentence(
    cli: Run, folders: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    (folders / "empty").mkdir()
    (folders / "few.csv").write_text("id,label\npicture-0,3\n")
    (folders / "numbers.csv").write_text("id,label\n0,3\n1,2\n")
    (folders / "odd.csv").write_text("name,class\npicture-0,3\n")
    write_png(torch.zeros(1, 28, 28, dtype=torch.uint8), folders / "other" / "Coat" / "a.png")
    write_png(torch.zeros(1, 28, 28, dtype=torch.uint8), folders / "other" / "Bag" / "b.png")
    write_png(torch.zeros(1, 56, 56, dtype=torch.uint8), folders / "large" / "picture-0.png")
    refused(cli("score", *words, "--dataset", "fashion-mnist"), code, sentence)
