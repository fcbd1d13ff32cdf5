"""What an attack does once: it asks, loads, draws, hashes and selects no second time; progress adds up."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import transferzoo
from helpers.refusals import ATTACK
from transferzoo.attacks import noise
from transferzoo.attacks.engine import craft
from transferzoo.base.digests import tensors_digest, tensors_state
from transferzoo.models import load
from transferzoo.models.predict import predict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = [
    pytest.mark.usefixtures("one_thread", "cache"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
EVERY = 60
"""Images of the folder `few`."""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], list[Any]]]:
    """Watch a function, in forked processes too; what `told` says of its calls is returned, a line each."""

    def watch(place: str, function: Callable[..., Any], told: Callable[..., Any]) -> Callable[[], list[Any]]:
        log = tmp_path / f"calls of {place}"
        log.touch()

        def spy(*arguments: Any, **options: Any) -> Any:
            with log.open("a") as stream:
                stream.write(json.dumps(told(*arguments)) + "\n")
            return function(*arguments, **options)

        monkeypatch.setattr(f"transferzoo.{place}", spy)
        return lambda: [json.loads(line) for line in log.read_text().splitlines()]

    return watch


def _attack(cli: Run, few: Path, *more: object) -> list[str]:
    done = cli(*ATTACK, "-t", "resnet18", "--data", few, "--batch-size", 2, *more, "--json")
    assert done.code == 0, done.err
    return [record["outcomes"] for record in json.loads(done.out)["records"]]


@pytest.mark.parametrize(("jobs", "writable"), [(1, True), (2, True), (2, False)])
def test_each_model_is_asked_once(
    cli: Run,
    few: Path,
    tmp_path: Path,
    calls: Any,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    writable: bool,
) -> None:
    if not writable:
        (tmp_path / "file").touch()
        monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "file"))
    asked = calls(
        "models.predict.predict", predict, lambda _, images, at=None: len(images if at is None else at)
    )
    _attack(cli, few, "--jobs", jobs)
    assert asked().count(EVERY) == 3, "a surrogate and two targets"


def test_surrogates_are_loaded_for_no_digest(cli: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, loaded = load.load_classifier, Counter[str]()

    def counted(model: Any, *others: Any) -> Any:
        loaded[model.name] += 1
        return original(model, *others)

    monkeypatch.setattr(load, "load_classifier", counted)
    _attack(cli, few)
    assert loaded == {"resnet50-sgd": 2, "vgg": 2, "resnet18": 2}, "asked, then attacked or measured"
    loaded.clear()
    _attack(cli, few, "-a", "mi")
    assert loaded == {"resnet50-sgd": 1, "vgg": 1, "resnet18": 1}
    (record,) = json.loads(cli(*ATTACK, "-s", "vgg", "--data", few, "--runs", "x", "--json").out)["records"][
        1:
    ]
    assert record["white_box"], "what the cache knows of weights tells white-box targets"


def test_processes_hold_the_weights_of_what_all_attack_together(cli: Run, few: Path, calls: Any) -> None:
    _attack(cli, few)  # so that no clean prediction is missing
    loaded = calls("models.load.load_classifier", load.load_classifier, lambda model, *_: model.name)
    _attack(cli, few, "--jobs", 2, "-a", "mi", "-a", "di")
    assert loaded().count("resnet50-sgd") == 1, "before the processes are forked"


def test_processes_hold_the_weights_of_the_only_target_together(cli: Run, few: Path, calls: Any) -> None:
    words = (*ATTACK, "--data", few, "--batch-size", 2)
    assert cli(*words).code == 0
    loaded = calls("models.load.load_classifier", load.load_classifier, lambda model, *_: model.name)
    assert cli(*words, "--jobs", 2, "-a", "mi").code == 0
    assert loaded() == ["resnet50-sgd", "vgg"], "before the processes are forked"


@pytest.mark.parametrize("asked", [(), ("--jobs", 2)])
@pytest.mark.parametrize(("target", "jobs"), [("vgg", 2), ("users_code:predict", 1)])
def test_code_of_a_user_is_never_forked(
    cli: Run,
    few: Path,
    tmp_path: Path,
    calls: Any,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    jobs: int,
    asked: tuple[str | int, ...],
) -> None:
    """It may take several threads, for which a forked process waits for ever."""
    from transferzoo.evaluation.crafting import craft_all

    (tmp_path / "users_code.py").write_text(
        "from transferzoo import load_model\n\ndef predict(images):\n    return load_model('vgg')(images)\n"
    )
    monkeypatch.setattr("transferzoo.evaluation.run.usual_jobs", lambda: 2)
    used = calls("evaluation.run.craft_all", craft_all, lambda *given: given[-1])
    words = (*ATTACK[:3], "-t", target, "--allow-code", "--data", few, "--steps", 1, "--images", 4)
    done = cli(*words, *asked)
    assert done.code == 0
    assert used() == [jobs]
    assert ("one process instead of 2, since 'predict' is code" in done.err) == (jobs == 1 and bool(asked))


@pytest.mark.parametrize("function", [False, True])
def test_a_function_in_memory_is_never_forked(
    calls: Any, function: bool, recwarn: pytest.WarningsRecorder
) -> None:
    from transferzoo.evaluation.crafting import craft_all

    used = calls("evaluation.run.craft_all", craft_all, lambda *given: given[-1])
    data, vgg = transferzoo.load_images().select(range(4)), transferzoo.load_model("vgg")
    target = (lambda images: vgg(images)) if function else vgg
    attack, surrogate = transferzoo.read_attack("bim", steps=1), transferzoo.load_model("resnet50-sgd")
    transferzoo.evaluate(attack, surrogate, {"mine": target}, data.images, data.labels, jobs=2)
    assert used() == [1 if function else 2]
    told = [one.filename for one in recwarn if "one process instead of 2" in str(one.message)]
    assert told == [__file__] * function


def test_noise_is_drawn_once_for_all_targets(cli: Run, few: Path, tmp_path: Path, calls: Any) -> None:
    drawn = calls("evaluation.noise_images.noisy", noise.noisy, lambda images, ids, *_: ids)
    _attack(cli, few, "--jobs", 2, "-a", "bim", "-a", "mi")
    ids = [one for unit in drawn() for one in unit]
    assert len(ids) == len(set(ids)) == 4, "two targets, two attacks of one budget"
    (run,) = (tmp_path / "runs").iterdir()
    files, rates = sorted((run / "noise").rglob("*.safetensors")), (run / "noise.jsonl").read_bytes()
    before = [file.read_bytes() for file in files]
    tensors = load_file(files[0])
    save_file({**tensors, "images": 255 - tensors["images"]}, files[0])
    files[1].unlink()
    (run / "noise.jsonl").unlink()
    _attack(cli, few, "-a", "bim", "-a", "mi")
    assert [file.read_bytes() for file in files] == before, "what is damaged or missing is drawn again"
    assert (run / "noise.jsonl").read_bytes() == rates


def test_pictures_need_no_second_selection(cli: Run, few: Path, tmp_path: Path, calls: Any) -> None:
    from transferzoo.evaluation.select_images import select

    asked = calls("evaluation.run.select", select, lambda *_: 1)
    _attack(cli, few, "--save-images", "look")
    assert len(asked()) == 1
    assert len(list((tmp_path / "look").rglob("*.png"))) == 5, "four images and a sheet"


def test_a_hash_that_goes_on_is_that_of_all() -> None:
    pixels, labels = torch.arange(60, dtype=torch.uint8).view(3, 20), torch.tensor([1, 2, 3])
    state = tensors_state(pixels)
    joined = pixels.numpy().tobytes() + labels.numpy().tobytes()
    for _ in range(2):
        assert tensors_state(labels, after=state).hexdigest() == hashlib.sha256(joined).hexdigest()
    assert state.hexdigest() == tensors_digest(pixels)


def test_candidates_are_hashed_once(cli: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spy(*tensors: torch.Tensor, after: Any = None) -> Any:
        seen.extend(tensor.numel() for tensor in tensors)
        return tensors_state(*tensors, after=after)

    monkeypatch.setattr("transferzoo.evaluation.job.tensors_state", spy)
    _attack(cli, few)
    assert seen.count(EVERY * 28 * 28) == 1


@pytest.mark.parametrize("fails_at", [0, 1])
def test_progress_ends_at_its_total_where_batches_are_halved(
    cli: Run, few: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Memory runs out before the first step, or after it: the halves begin anew."""
    seen: list[tuple[int, int]] = []

    def full(attack: Any, models: Any, images: Any, *others: Any, on_step: Any, **options: Any) -> Any:
        def stepping(step: int, delta: Any) -> None:
            on_step(step, delta)
            if step == fails_at and len(images) > 1:
                raise torch.OutOfMemoryError("full")

        if fails_at == 0 and len(images) > 1:
            raise torch.OutOfMemoryError("full")
        return craft(attack, models, images, *others, on_step=stepping, **options)

    def bar(
        self: Any, _: Any, *, description: str = "", completed: int = 0, total: int = 0, **__: Any
    ) -> None:
        if description.startswith("attacking"):
            seen.append((completed, total))

    whole = _attack(cli, few)
    monkeypatch.setattr("transferzoo.evaluation.crafting.craft", full)
    monkeypatch.setattr("rich.progress.Progress.update", bar)
    assert _attack(cli, few, "--runs", "others") == whole
    assert seen[-1] == (8, 8), "four images, two steps each"
    assert max(done for done, _ in seen) <= 8
