"""What audits refuse before they say or train anything, and where and of what they are still made."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.photographs import KINDS, class_folders, draw, finetuned
from helpers.processes import start_command
from helpers.refusals import refused
from transferzoo.audits.record import read_audit
from transferzoo.models.sources import python_function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Result
    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = ("-s", "resnet50-sgd", "-a", "fgsm", "--images", 50, "--max-rate", "100%")
OWN = """
import transferzoo
vgg = transferzoo.load_model('vgg')
def labels(images): return vgg(images).argmax(1)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images of somebody's five classes, one of whose names a terminal would obey."""
    home = tmp_path_factory.mktemp("photos")
    class_folders(home, *draw(60, 1))
    (home / KINDS[0]).rename(home / "bri\x1b[31mck\n|`x`")
    return home


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.pt"
    return finetuned(file, *draw(240, 2), epochs=3, network="test_resnet")


def alone(result: Result, code: int, *words: str) -> None:
    """Check that a command said nothing but its refusal, and how it read a weight file."""
    said = [line for line in result.err.splitlines() if not re.match(r"\S*model.pt(:| is a pickle)", line)]
    refused(replace(result, err="\n".join(said)), code, *words)
    assert len(said) == 1, "it talks before it refuses"


@pytest.mark.parametrize(
    ("words", "code", "sentences"),
    [
        (("--attackers", "public"), 2, ("no surrogate on this machine knows", "adapted, which trains some")),
        (("--attack", "mii"), 2, ("unknown attack 'mii'", "did you mean mi")),
        (("--split", "tset"), 2, ("unknown split 'tset'", "did you mean test")),
        (("--split", "train"), 2, ("trained on the 'train' images that are attacked", "leave out --split")),
        (("--epsilon", "9"), 2, ("at most 1", "did you mean 9/255?")),
        (("--max-gradients", 2, "-a", "vt"), 2, ("vt", "got")),
        (("-s", "model.pt"), 1, ("every attacker has the weights of 'model'", "--surrogate")),
    ],
    ids=str,
)
def test_nothing_is_told_or_trained_before_a_refusal(
    cli: Run,
    photos: Path,
    model: Path,
    tmp_path: Path,
    words: tuple[object, ...],
    code: int,
    sentences: tuple[str, ...],
) -> None:
    (tmp_path / "model.pt").hardlink_to(model)
    alone(
        cli("audit", "model.pt", "--architecture", "test_resnet", "--data", photos, *words), code, *sentences
    )


def test_public_attackers_of_images_that_nobody_can_be_trained_on(
    cli: Run, photos: Path, model: Path, tmp_path: Path
) -> None:
    """What the sentence offers works: there is nothing to train on, so it does not offer that."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test").symlink_to(photos)
    words = ("audit", model, "--architecture", "test_resnet", "--data", "set", "--attackers")
    public = cli(*words, "public")
    alone(public, 2, "no surrogate on this machine knows", "expected models with --surrogate.")
    alone(cli(*words, "adapted"), 1, "no images to train surrogates on", "name a surrogate with --surrogate")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--architecture", "small_vg"), "unknown architecture 'small_vg'"),
        (("--minimizer", "samm"), "unknown minimizer 'samm'"),
        (("--validation", 1000, "--dry-run"), "too many validation images"),
    ],
)
def test_a_training_says_nothing_before_it_refuses(
    cli: Run, photos: Path, words: tuple[object, ...], sentence: str
) -> None:
    alone(cli("train", "--data", photos, *words), 2, sentence)


def test_names_that_a_terminal_obeys_are_one_line(cli: Run, photos: Path) -> None:
    done = cli("train", "--data", photos, "--dry-run")
    assert done.code == 0, done.err
    (said,) = [line for line in done.err.splitlines() if line.startswith("Data: ")]
    assert "bri\ufffd[31mck |`x`, fence, sand" in said and "\x1b" not in done.err + done.out


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return a function of images that says labels alone."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_labels.py").write_text(OWN)
    yield "own_labels:labels"
    sys.modules.pop("own_labels", None)
    python_function.facts.cache_clear()


def test_a_model_that_says_labels_alone_is_shown_noise_if_asked(cli: Run, few: Path, own: str) -> None:
    words = ("audit", own, "--allow-code", "--dataset", "fashion-mnist", "--data", few, *SHORT)
    costs = (cli(*words, *noise, "--dry-run", "--json").out for noise in ((), ("--noise",)))
    plain, shown = map(json.loads, costs)
    assert shown["queries"] - plain["queries"] == 50
    done = cli(*words)
    assert done.code == 0, done.err
    assert "Note: labels says labels only: no random noise is shown" in done.err
    assert "It was shown no random noise: it says labels alone" in done.out
    assert "random noise" not in done.out.partition("Of ")[0], "no row of it"
    (place,) = Path("audits").glob("own_labels-labels-*")
    found = read_audit(place / "audit.json")
    assert (found.controls.noise, found.controls.noise_outcomes) == (None, "")
    assert found.queries == plain["queries"]
    scores = cli("audit", "vgg", *words[3:])
    assert scores.code == 0, scores.err
    known = read_audit(Path("audits/vgg/audit.json"))
    assert found.attackers[0].outcomes == known.attackers[0].outcomes
    assert (found.verdict, found.held_out) == (known.verdict, known.held_out)
    others = tuple(one for one in found.controls.references if one.name != "fashion-mnist/vgg")
    assert others == known.controls.references
    asked = cli(*words, "--noise")
    assert asked.code == 0 and "labels only" not in asked.err, asked.err
    again = read_audit(place / "audit.json")
    assert again.controls.noise_outcomes == known.controls.noise_outcomes
    packed = cli("audit", own, "--allow-code", "--pack", "fashion-mnist-three", "--images", 50, "--dry-run")
    assert packed.code == 0 and "labels says labels only" in packed.err, packed.err


def test_two_audits_of_one_folder_at_once(few: Path, tmp_path: Path) -> None:
    """Both end with the verdict, on a terminal of 60 columns, and leave one whole folder."""
    words = ("audit", "vgg", "--dataset", "fashion-mnist", "--data", few, *SHORT, "--jobs", 1)
    ours, theirs = pty.openpty()
    (tmp_path / "one.out").symlink_to(os.ttyname(theirs))
    variables = {"COLUMNS": "60", "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}
    both = {
        said: start_command([*map(str, words)], tmp_path, said, **variables) for said in ("one", "another")
    }
    while not (tmp_path / "one.err").exists():  # it has the terminal open
        time.sleep(0.01)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # it has ended
        pass
    os.close(ours)
    for said, process in both.items():
        process.join(120)
        err = (tmp_path / f"{said}.err").read_text()
        assert (process.exitcode, "Traceback" in err) == (0, False), err
    folder = tmp_path / "audits" / "vgg"
    assert read_audit(folder / "audit.json").verdict == "pass"
    assert {file.name for file in folder.iterdir()} == {
        "audit.json",
        "junit.xml",
        "repeat.sh",
        "report.html",
        "summary.md",
    }
    text = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).replace("\r\n", "\n")
    table = text.partition("\nPASS. ")[0]
    assert "resnet50-sgd" in table and max(map(len, table.splitlines())) <= 60


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_cannot_be_written(cli: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    words = ("audit", "vgg", "--dataset", "fashion-mnist", "--data", few, *SHORT)
    for place in ("--folder", "--runs"):
        refused(cli(*words, place, "closed/here"), 1, "closed/here", "cannot be written")


def test_a_folder_that_is_a_file(cli: Run, few: Path, tmp_path: Path) -> None:
    """For root too, whom no mode stops."""
    (tmp_path / "closed").touch()
    words = ("audit", "vgg", "--dataset", "fashion-mnist", "--data", few, *SHORT)
    for place in ("--folder", "--runs"):
        done = cli(*words, place, "closed/here")
        assert done.code == 1 and "Traceback" not in done.err
        assert re.fullmatch(r"Error: .*closed.*", done.err.splitlines()[-1]), done.err
