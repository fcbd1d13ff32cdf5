"""`train --from` and `attack --finetune` through the real entry point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers.checkpoints import content, copied, with_json
from helpers.refusals import nothing_written, refused
from helpers.stripes import MORE, ZOO, config, draw, write_idx
from transferzoo.models import checkpoint
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.training.finetuned import prepare, read_spec
from transferzoo.training.trainer import train
from transferzoo.zoo.reader import load_zoo
from transferzoo.zoo.schema import ModelSpec

if TYPE_CHECKING:
    from helpers.refusals import Run
    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- `transferzoo train --from`


@pytest.fixture
def bench(tmp_path: Path, source: Path) -> list[object]:
    """Options of a data set, a zoo and images in the folder of `cli`, with two targets of the stripes."""
    for stem, batch in (("train", draw(160, 0)), ("t10k", draw(40, 1))):
        write_idx(tmp_path / "data", stem, batch)
    copied("vgg", tmp_path / "damaged")
    (tmp_path / "damaged" / "recipe.json").unlink()
    with_json(tmp_path / "damaged", "config.json", lambda config: config.update(num_classes=3))
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"")
    target = f'{{roles: [target], source: "local:{source}"}}'
    (tmp_path / "zoo.yaml").write_text(f"{ZOO}{MORE}models:\n  stripes: {{t: {target}, u: {target}}}\n")
    return ["--zoo", "zoo.yaml", "--dataset", "stripes", "--data", "data"]


@pytest.mark.usefixtures("untimed")
def test_train_says_what_is_replaced(cli: Run, bench: list[object], source: Path) -> None:
    options = [*bench, "--epochs", 1, "--batch-size", 80, "--lr", 0.01, "--output", "out"]
    same = cli("train", "--from", source, *options)
    assert (same.code, "Note" in same.err) == (0, False), same
    other = cli("train", "--from", source, *options, "--dataset", "bricks", "--dry-run", "--json")
    assert other.code == 0
    assert other.err == (
        "Note: the model source has 3 classes and 'bricks' 4; its head (head.fc.bias, head.fc.weight) starts "
        "afresh.\n"
    )
    assert json.loads(other.out)["config"]["architecture"] == "small_vgg:width=4"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--from", "resnet50-smm"), 2, ("unknown model 'resnet50-smm'", "did you mean resnet50-s")),
        (("--from", "./nowhere"), 2, ("there is no './nowhere'", "expected a checkpoint folder")),
        (("--from", "data"), 1, ("is not a checkpoint folder", "expected config.json and model.safetensors")),
        (("--from", "t", "--architecture", "resnet18"), 2, ("keeps the architecture", "small_vgg:width=4")),
        (("--from", "hf-hub:a/b/c"), 2, ("'a/b/c' is no repository of the Hub",)),
        (("--from", "t", "--data", "nowhere"), 1, ("there is no nowhere",)),
    ],
)
def test_train_refuses(
    cli: Run, tmp_path: Path, bench: list[object], options: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    refused(cli("train", *bench, *options), code, *words)
    nothing_written(tmp_path)


# ---------------------------------------------------------------- `transferzoo attack --finetune`


def test_specs() -> None:
    minimizer, changes, _ = read_spec("sam:rho=.4,epochs=2,lr=0.01,batch-size=32")
    assert minimizer == "sam:rho=0.4,base=sgd"
    assert changes == {"epochs": "2", "learning_rate": "0.01", "batch_size": "32"}
    own = "start=0.5,per_epoch=2"  # of the minimizer, though a training has a `start` too
    assert read_spec(f"swa:{own}")[:2] == (f"swa:{own},rate=0,base=sgd", {})


def test_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.chdir(tmp_path)
    zoo = load_zoo()
    model = zoo.models["fashion-mnist/resnet50-sgd"]
    one = prepare(zoo, model, "sam:epochs=2,lr=0.0100,rho=.4", None)
    assert one.model.name == "resnet50-sgd+sam:rho=0.4,epochs=2,lr=0.01"
    assert one.model.folder == tmp_path / one.folder
    assert one.folder.parent == Path("checkpoints")
    assert one.folder.name.startswith("resnet50-sgd+")
    assert one == prepare(zoo, model, "sam:rho=0.4,lr=1e-2,epochs=2", None)
    recipe = json.loads((model.folder / "recipe.json").read_text())["config"]
    plain = prepare(zoo, model, "sgd", None)
    assert plain.model.name == "resnet50-sgd+sgd"
    wanted = {
        "epochs": 1,
        "learning_rate": 0.01,
        "schedule": "cosine",
        "minimizer": "sgd",
        "storage": recipe["storage"],
        "augment": recipe["augment"],
        "start": model.full_name,
    }
    assert plain.config.model_dump(include=set(wanted)) == wanted
    local = ModelSpec(name="source", dataset="stripes", roles=("surrogate",), source=LocalFolder(source))
    assert prepare(zoo, local, "sgd", None).config.start == str(source)
    folders = {
        prepare(zoo, model, spec, data).folder
        for model in (model, local)
        for spec in ("sgd", "sam", "sam:rho=0.1", "sgd:epochs=2", "sgd:seed=1")
        for data in (None, Path("here"), Path("there"))
    }
    assert len(folders) == 2 * 5 * 3


FINETUNE = ("attack", "--steps", 3, "--images", 20, "--train-data", "data", "--finetune")
SPEC = "sam:rho=0.1,epochs=2,batch_size=32,micro_batch=16"


def test_attack_trains_once(
    cli: Run, tmp_path: Path, bench: list[object], source: Path, foreign: Path
) -> None:
    command = (*FINETUNE, SPEC, "-s", source, "-s", "t", "-t", "u", "--json", *bench)
    plan = json.loads(cli(*command, "--dry-run", "--json").out)
    nothing_written(tmp_path)
    names = ["stripes/source", "stripes/t", f"stripes/source+{SPEC}", f"stripes/t+{SPEC}"]
    assert plan["config"]["surrogates"] == names
    assert [one["done"] for one in plan["fine_tunes"]] == [False, False]
    assert (plan["run_folder"], plan["exists"]) == (None, False)
    first = cli(*command)
    assert first.code == 0, first.err
    folders = [Path(one["into"]) for one in plan["fine_tunes"]]
    assert sorted(Path("checkpoints").iterdir()) == sorted(folders)
    said = first.err.splitlines()
    assert said[:2] == [
        f"Fine-tuning {name} into {folder}, once."
        for name, folder in zip(("source", "t"), folders, strict=True)
    ]
    (run,) = Path("runs").iterdir()
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    assert [(r["surrogate"], r["target"]) for r in records] == [(name, "stripes/u") for name in names]
    assert [r["surrogate_sha256"] for r in records[2:]] == [checkpoint.digest(folder) for folder in folders]
    assert [r["white_box"] for r in records] == [True, True, False, False]
    recipe = json.loads((folders[0] / "recipe.json").read_text())
    assert recipe["config"]["minimizer"] == "sam:rho=0.1,base=sgd"
    assert recipe["start"] == checkpoint.digest(source)
    assert [line["epoch"] for line in recipe["curve"]] == [1, 2]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in Path("checkpoints").rglob("*")}
    (tmp_path / "data").rename(tmp_path / "gone")  # what is trained needs no training images
    command = (*command, "--data", "gone")
    again = cli(*command)
    assert (again.code, json.loads(again.out)["records"]) == (0, json.loads(first.out)["records"])
    assert again.err == first.err.splitlines(keepends=True)[-1]
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in Path("checkpoints").rglob("*")} == before
    assert list(Path("runs").iterdir()) == [run]
    planned = json.loads(cli(*command, "--dry-run", "--json").out)
    assert planned["run_folder"] == str(run)
    assert [one["done"] for one in planned["fine_tunes"]] == [True, True]


def test_attack_compares_before_and_after(cli: Run, bench: list[object], stripes: DatasetSpec) -> None:
    """Originals come first, so that the paired tests have the first as their baseline."""
    train(config(seed=1), stripes, draw(160, 0), None, Path("other"))
    command = (*FINETUNE, SPEC, "--finetune", "sgd:batch_size=32", "-s", "t", "-t", "./other", *bench)
    done = cli(*command, "-o", "all.json")
    assert done.code == 0, done.err
    assert "Paired tests against t, on the same images" in done.out
    content = json.loads(Path("all.json").read_text())
    tests = content["paired_tests"]
    assert [test["surrogate"] for test in tests] == [f"stripes/t+{SPEC}", "stripes/t+sgd:batch_size=32"]
    assert {test["baseline"]["surrogate"] for test in tests} == {"stripes/t"}
    (run,) = Path("runs").iterdir()
    assert f"t+{SPEC}" in cli("report", run).out.replace("\n", "")


def test_attack_from_a_model_of_other_classes(cli: Run, bench: list[object], foreign: Path) -> None:
    """It cannot be attacked from before, only after."""
    done = cli(*FINETUNE, "sgd:epochs=10,batch_size=16,lr=0.1,augment=none", "-s", foreign, "-t", "t", *bench)
    assert done.code == 0, done.err
    assert done.err.splitlines()[0] == (
        "Note: the model foreign has 5 classes and 'stripes' 3; its head starts afresh, and only the "
        "fine-tuned model is attacked from."
    )
    assert "Success rate of foreign+sgd:epochs=10,batch_size=16,lr=0.1,augment=none on stripes" in done.out


def test_attack_resumes_the_fine_tuning(
    cli: Run, bench: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*FINETUNE, "sgd:epochs=3,batch_size=32", "-s", "t", "-t", "u", *bench)
    assert cli(*command).code == 0
    (folder,) = Path("checkpoints").iterdir()
    whole = content(folder)["model.safetensors"]
    for file in folder.iterdir():
        file.unlink()
    from transferzoo.training.loop import Loop

    epoch, epochs = Loop.epoch, list[int]()

    def stopping(loop: Loop, number: int, *rest: Any) -> dict[str, float]:
        if number == 2 and not epochs.count(2):
            epochs.append(2)
            raise KeyboardInterrupt
        epochs.append(number)
        return epoch(loop, number, *rest)

    monkeypatch.setattr(Loop, "epoch", stopping)
    assert cli(*command).code
    assert sorted(content(folder)) == ["resume.pt"]
    assert cli(*command).code == 0
    assert epochs == [0, 1, 2, 2]
    assert content(folder)["model.safetensors"] == whole


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("samm",), 2, ("unknown minimizer 'samm'", "did you mean")),
        (("sam+sgd",), 2, ("cannot read --finetune", "as in sam:rho=0.4,epochs=2", "'sam+sgd'")),
        (("",), 2, ("cannot read --finetune", "''")),
        (("sam:rho=-1",), 2, ("option 'rho' of 'sam' is out of range",)),
        (("sam:roh=1",), 2, ("option 'roh' of minimizer 'sam' and of fine-tuning", "did you mean rho")),
        (("sam:tune=1",), 2, ("unknown option 'tune'", "expected one of")),
        (("sam:epochs=0",), 2, ("'epochs'", "greater than or equal to 1", "'0'")),
        (("sam:epochs=1.5",), 2, ("'epochs'", "integer")),
        (("sam:lr=1,learning_rate=2",), 2, ("'learning_rate' is given twice",)),
        (("sam", "-s", "nobody"), 2, ("unknown surrogate 'nobody'",)),
        (("sam", "--attack", "mii"), 2, ("unknown attack 'mii'",)),
        (("sam", "--train-data", "nowhere"), 1, ("nothing to fine-tune on", "no nowhere", "--train-data")),
        (("sam", "--train-data", "."), 1, ("nothing to fine-tune on", "'train' images", "--train-data")),
        (("sam", "-t", "./damaged"), 1, ("cannot read the weights", "damaged")),
        (("sam:batch_size=200",), 1, ("too few training images", "200")),
    ],
)
def test_attack_refuses(
    cli: Run, tmp_path: Path, bench: list[object], options: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    refused(cli(*FINETUNE, options[0], "-s", "t", "-t", "u", *bench, *options[1:]), code, *words)
    nothing_written(tmp_path)


def test_training_images_without_a_training(cli: Run, tmp_path: Path, bench: list[object]) -> None:
    result = cli("attack", "-s", "t", "-t", "u", "--train-data", "data", *bench)
    refused(result, 2, "nothing to train on --train-data", "expected --finetune too")
    nothing_written(tmp_path)
