"""Fine-tuning: what is kept of the source, what starts afresh, and surrogates that an attack fine-tunes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
import torch.nn.functional as F
from folders import BUILTIN, copied, with_json, with_weights
from hub_server import COMMIT, client_environment, serving
from refusals import nothing_written, refused
from safetensors.torch import load_file
from stripes import ZOO, config, draw, spec, write_idx
from timm.models import save_for_hf

from transferzoo import checkpoint, finetuning
from transferzoo.classifier import load
from transferzoo.config import fingerprint
from transferzoo.errors import ModelError, UsageError
from transferzoo.finetuning import architecture_of, begin, find, prepare, read_spec
from transferzoo.specs import ModelSpec
from transferzoo.trainer import Progress, train
from transferzoo.zoo import load_zoo

if TYPE_CHECKING:
    from refusals import Run

    from transferzoo.specs import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = draw(160, 0)
MORE = """
  bricks:
    classes: [one, two, three, four]
    channels: 1
    size: 12
    mean: [0.5]
    std: [0.25]
    splits: {train: ["local:/nowhere"], test: ["local:/nowhere"]}
    attack: {split: test, epsilon: 16/255}
    licence: MIT
    origin: tests/test_finetuning.py
"""
HEAD = ["head.fc.bias", "head.fc.weight"]
TINY: dict[str, Any] = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
"""A ResNet-18 of timm's that is small."""


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    return spec(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, stripes: DatasetSpec) -> Path:
    """A model of the stripes."""
    folder = tmp_path_factory.mktemp("models") / "source"
    train(config(epochs=3), stripes, DATA, None, folder)
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of timm's own, as timm saves it: RGB, 32 pixels, five classes."""
    folder = tmp_path_factory.mktemp("timm") / "foreign"
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=5, **TINY)
    reads = {"input_size": (3, 32, 32), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    save_for_hf(
        model, str(folder), model_config={"pretrained_cfg": reads}, model_args=TINY, safe_serialization=True
    )
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def tuned(start: Path, **changes: Any) -> Any:
    return config(**{"epochs": 1, "architecture": architecture_of(start), "start": str(start), **changes})


# ---------------------------------------------------------------- what is kept


def test_it_starts_from_the_source(tmp_path: Path, stripes: DatasetSpec, source: Path) -> None:
    """The first loss is the source's, a tiny rate leaves its weights, and its files are not touched."""
    before, seen = content(source), list[Progress]()
    wanted = tuned(source, learning_rate=1e-9, weight_decay=0, batch_size=160, augment="none")
    recipe = train(wanted, stripes, DATA, None, tmp_path, start=source, on_progress=seen.append)
    with torch.no_grad():
        logits = load(source, stripes).train()(DATA.images / 255)
    assert seen[0].loss == pytest.approx(float(F.cross_entropy(logits, DATA.labels)), rel=1e-5)
    old, new = (load_file(folder / "model.safetensors") for folder in (source, tmp_path))
    assert old.keys() == new.keys()
    for name in (name for name in old if "running" not in name and "num_batches" not in name):
        torch.testing.assert_close(new[name], old[name], rtol=0, atol=1e-6)
    assert content(source) == before
    assert recipe["start"] == checkpoint.digest(source)
    assert recipe["start_config"] == fingerprint(checkpoint.read_config(source))
    assert "fresh" not in recipe
    assert (tmp_path / "config.json").read_bytes() == before["config.json"]


def test_another_number_of_classes_replaces_the_head(tmp_path: Path, source: Path) -> None:
    (tmp_path / "zoo.yaml").write_text(ZOO + MORE)
    bricks = load_zoo(tmp_path / "zoo.yaml").dataset("bricks")
    seen: list[Progress] = []
    wanted = tuned(source, learning_rate=1e-9, weight_decay=0, dataset="bricks")
    recipe = train(wanted, bricks, DATA, None, tmp_path / "a", start=source, on_progress=seen.append)
    assert recipe["fresh"] == HEAD
    assert seen[0].loss > 1
    old, new = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "a"))
    assert new["head.fc.weight"].shape == (4, old["head.fc.weight"].shape[1])
    for name in (name for name in old if name not in HEAD and "running" not in name and "num" not in name):
        torch.testing.assert_close(new[name], old[name], rtol=0, atol=1e-6)
    for number, seed in (("b", 0), ("c", 1)):
        again = wanted.model_copy(update={"seed": seed})
        train(again, bricks, DATA, None, tmp_path / number, start=source)
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["head.fc.weight"], c["head.fc.weight"])


def test_which_classes_are_the_same(tmp_path: Path, stripes: DatasetSpec, source: Path) -> None:
    def other(*names: str, dataset: str = "stripes") -> str:
        renamed = stripes.model_copy(update={"classes": names, "name": dataset})
        return finetuning.other_classes(source, renamed)

    assert other("lying", "standing", "chequered") == ""
    assert other("Lying", "stand-ing", "CHEQUERED", dataset="elsewhere") == ""
    assert other("standing", "lying", "chequered").endswith("has other classes than 'stripes'")
    assert other("0", "1", "2") == "", "names and no names cannot be compared; its recipe says stripes"
    assert other("0", "1", "2", dataset="x").endswith("was trained on 'stripes', not 'x'")
    assert other("a", "b").endswith("source has 3 classes and 'stripes' 2")
    nameless = copied("resnet50-sgd", tmp_path / "nameless")
    (nameless / "recipe.json").unlink()
    with_json(nameless, "config.json", lambda c: c["pretrained_cfg"].pop("label_names"))
    ten = stripes.model_copy(update={"classes": tuple("abcdefghij")})
    assert finetuning.other_classes(nameless, ten) == ""
    with_json(
        nameless,
        "config.json",
        lambda c: c.update(label_names={str(n): "abcdefghij"[n] for n in range(9, -1, -1)}),
    )
    assert finetuning.other_classes(nameless, ten) == ""
    with_json(nameless, "config.json", lambda c: c.update(label_names=list("bacdefghij")))
    assert finetuning.other_classes(nameless, ten).endswith("has other classes than 'stripes'")


def test_a_model_of_timm_learns_grey_images(tmp_path: Path, stripes: DatasetSpec, foreign: Path) -> None:
    """It keeps reading RGB of 32 pixels, its config says so, and timm loads the result."""
    before = content(foreign)
    assert architecture_of(foreign).partition(":")[0] == "resnet18"
    wanted = tuned(foreign, epochs=10, augment="none")
    recipe = train(wanted, stripes, DATA, draw(60, 1), tmp_path / "a", start=foreign)
    assert content(foreign) == before
    assert recipe["fresh"] == ["fc.bias", "fc.weight"]
    kept = json.loads((tmp_path / "a" / "config.json").read_text())
    assert kept["num_classes"] == 3
    assert kept["model_args"].items() >= {"in_chans": 3, **TINY}.items()
    reads = kept["pretrained_cfg"]
    assert (reads["input_size"], reads["mean"], reads["std"]) == (
        [3, 32, 32],
        [0.4, 0.5, 0.6],
        [0.2, 0.25, 0.3],
    )
    assert (reads["classifier"], reads["first_conv"]) == ("fc", "conv1")
    assert (reads["label_names"], reads["tag"]) == (["lying", "standing", "chequered"], "stripes")
    classifier = load(tmp_path / "a", stripes)
    assert (classifier.channels, classifier.size) == (3, (32, 32))
    assert recipe["accuracy"]["accuracy"] > 0.6, "chance is a third"
    theirs = timm.create_model(f"local-dir:{tmp_path / 'a'}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), classifier.model(images))
    again = train(tuned(tmp_path / "a"), stripes, DATA, None, tmp_path / "b", start=tmp_path / "a")
    assert "fresh" not in again
    assert (tmp_path / "b" / "config.json").read_bytes() == (tmp_path / "a" / "config.json").read_bytes()


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "mobilenetv3_small_050", "deit_tiny_distilled_patch16_224"]
)
def test_what_timm_leaves_unsaid(tmp_path: Path, stripes: DatasetSpec, name: str) -> None:
    """Channels, and the size where it is fixed, stand in timm's `input_size` alone; any head is found."""
    small: dict[str, Any] = {"depth": 1, "embed_dim": 24, "img_size": 32} if "patch16" in name else {}
    model = timm.create_model(name, num_classes=7, in_chans=1, **small)
    reads = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,)}
    save_for_hf(model, str(tmp_path), model_config={"pretrained_cfg": reads}, safe_serialization=True)

    def silence(config: dict[str, Any]) -> None:
        for key in ("in_chans", "img_size", "num_classes"):
            config.get("model_args", {}).pop(key, None)
        config.setdefault("model_args", {}).update({k: v for k, v in small.items() if k != "img_size"})

    with_json(tmp_path, "config.json", silence)
    start = begin(tmp_path, stripes, architecture_of(tmp_path))
    heads = {"vit": ["head"], "mob": ["classifier"], "dei": ["head", "head_dist"]}[name[:3]]
    assert list(start.fresh) == sorted(f"{head}.{kind}" for head in heads for kind in ("bias", "weight"))
    assert start.note.endswith(f"'stripes' 3; its head ({', '.join(start.fresh)}) starts afresh.")
    assert start.model.eval()(torch.rand(1, 1, 32, 32)).shape[-1] == 3
    old = model.state_dict()
    for key, tensor in start.model.state_dict().items():
        assert key in start.fresh or torch.equal(tensor, old[key])


def test_features_without_a_head(tmp_path: Path, stripes: DatasetSpec) -> None:
    model = timm.create_model("resnet18", num_classes=0, **TINY)
    save_for_hf(model, str(tmp_path), model_args=TINY, safe_serialization=True)
    start = begin(tmp_path, stripes, architecture_of(tmp_path))
    assert start.fresh == ("fc.bias", "fc.weight")


def test_what_cannot_be_started_from(
    tmp_path: Path, stripes: DatasetSpec, source: Path, foreign: Path
) -> None:
    bad = copied("vgg", tmp_path / "bad")
    with pytest.raises(
        UsageError, match=r"keeps the architecture of its source: expected 'small_vgg.*got 'res"
    ):
        begin(bad, stripes, "resnet18")
    with_weights(bad, lambda weights: weights.__delitem__("features.0.weight"))
    with pytest.raises(ModelError, match=r"do not fit their architecture: 'features\.0\.weight' is missing"):
        begin(bad, stripes, architecture_of(bad))
    colour = stripes.model_copy(update={"channels": 3, "mean": (0.5,) * 3, "std": (0.5,) * 3})
    with pytest.raises(
        ModelError, match=r"cannot read the images of 'stripes': expected 3 channels, got 1; fine"
    ):
        begin(source, colour, architecture_of(source))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "_head", lambda *_: frozenset())
        with pytest.raises(
            ModelError, match=r"the head of resnet18 is not found: expected 3 classes, got 5; fine"
        ):
            begin(foreign, stripes, architecture_of(foreign))


def test_resumed_it_ends_with_the_same_bytes(tmp_path: Path, stripes: DatasetSpec, foreign: Path) -> None:
    wanted = tuned(foreign, epochs=3, minimizer="sam:rho=0.05", learning_rate=0.01)
    train(wanted, stripes, DATA, None, tmp_path / "whole", start=foreign)

    def stop(at: Progress) -> None:
        if at.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(wanted, stripes, DATA, None, tmp_path / "parts", start=foreign, on_progress=stop)
    seen: list[int] = []
    train(
        wanted, stripes, DATA, None, tmp_path / "parts", start=foreign,
        on_progress=lambda at: seen.append(at.epoch),
    )  # fmt: skip
    assert set(seen) == {3}
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_other_weights_are_another_training(tmp_path: Path, stripes: DatasetSpec, source: Path) -> None:
    wanted = tuned(source)
    train(wanted, stripes, DATA, None, tmp_path / "a", start=source)
    with pytest.raises(UsageError, match="holds another training run"):
        train(wanted, stripes, DATA, None, tmp_path / "a", start=tmp_path / "a")


# ---------------------------------------------------------------- names


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.chdir(tmp_path)
    twin = {"roles": ["target"], "source": f"local:{source}"}
    models = {"cifar10": {"mine": twin, "vgg": twin}, "imagenet": {"mine": twin}}
    (tmp_path / "zoo.yaml").write_text(json.dumps({"models": models}))
    zoo = load_zoo(tmp_path / "zoo.yaml")
    assert find(zoo, "resnet50-sgd") == BUILTIN / "resnet50-sgd"
    assert find(zoo, "fashion-mnist/vgg", "cifar10") == BUILTIN / "vgg"
    assert find(zoo, "vgg", "cifar10") == find(zoo, "imagenet/mine") == source
    assert find(zoo, "resnet50-sgd", "cifar10") == BUILTIN / "resnet50-sgd", "a model of another data set"
    with pytest.raises(UsageError, match=r"called 'mine': expected one of cifar10/mine, imagenet/mine\.$"):
        find(zoo, "mine")
    (tmp_path / "folder").mkdir()
    for name in ("folder", "./folder", str(tmp_path / "folder")):
        assert find(zoo, name) == tmp_path / "folder"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find(zoo, "~/folder") == tmp_path / "folder"
    with pytest.raises(UsageError, match=r"^'\./nowhere' is no folder: expected a checkpoint folder"):
        find(zoo, "./nowhere")
    with pytest.raises(UsageError, match=r"unknown model 'resnet50-smm': .* did you mean resnet50-"):
        find(zoo, "resnet50-smm")


FIND = """
import sys
from transferzoo.errors import TransferZooError
from transferzoo.finetuning import find
from transferzoo.zoo import load_zoo
for name in sys.argv[1:]:
    try:
        print(find(load_zoo(), name))
    except TransferZooError as error:
        print(error)
"""


def test_from_the_hub(tmp_path: Path, foreign: Path) -> None:
    """The real client and the real command line: both files come, of one commit, and once."""
    write_idx(tmp_path / "data", "train", DATA)
    (tmp_path / "zoo.yaml").write_text(ZOO)
    files = {f"owner/model/{name}": data for name, data in content(foreign).items()}

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=200, cwd=tmp_path,
            env=os.environ | environment | {"OMP_NUM_THREADS": "1"} | variables, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    with serving({**files, "owner/bare/config.json": b"{}"}) as endpoint:
        environment = client_environment(endpoint, tmp_path / "hub")
        options = ["--dataset", "stripes", "--zoo", "zoo.yaml", "--data", "data", "--epochs", "1", "--json"]
        done = run("-m", "transferzoo", "train", "--from", "hf-hub:owner/model", "--output", "out", *options)
        names = ["hf-hub:owner/model", f"hf-hub:owner/model@{COMMIT}", "hf-hub:owner/bare"]
        first, second, bare = run("-c", FIND, *names).stdout.splitlines()
    assert json.loads(done.stdout)["start"] == checkpoint.digest(foreign)
    assert "Note: the model " in done.stderr
    assert "its head (fc.bias, fc.weight) starts afresh." in done.stderr
    assert first == second
    assert {name: Path(first, name).read_bytes() for name in content(foreign)} == content(foreign)
    assert bare == f"the model owner/bare has no file model.safetensors in '{COMMIT}'; check the file name."
    assert run("-c", FIND, names[0], HF_HUB_OFFLINE="1").stdout.splitlines() == [first]


# ---------------------------------------------------------------- `transferzoo train --from`


@pytest.fixture
def bench(tmp_path: Path, source: Path) -> list[object]:
    """Options of a data set, a zoo and images in the folder of `cli`, with two targets of the stripes."""
    for stem, batch in (("train", DATA), ("t10k", draw(40, 1))):
        write_idx(tmp_path / "data", stem, batch)
    copied("vgg", tmp_path / "damaged")
    (tmp_path / "damaged" / "recipe.json").unlink()
    with_json(tmp_path / "damaged", "config.json", lambda config: config.update(num_classes=3))
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"")
    target = f'{{roles: [target], source: "local:{source}"}}'
    (tmp_path / "zoo.yaml").write_text(f"{ZOO}{MORE}models:\n  stripes: {{t: {target}, u: {target}}}\n")
    return ["--zoo", "zoo.yaml", "--dataset", "stripes", "--data", "data"]


def test_train_says_what_is_replaced(cli: Run, bench: list[object], source: Path) -> None:
    options = [*bench, "--epochs", 1, "--batch-size", 80, "--lr", 0.01, "--output", "out"]
    same = cli("train", "--from", source, *options)
    assert (same.code, "Note" in same.err) == (0, False), same
    other = cli("train", "--from", source, *options, "--dataset", "bricks", "--dry-run")
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
        (("--from", "./nowhere"), 2, ("'./nowhere' is no folder", "expected a checkpoint folder")),
        (("--from", "data"), 1, ("is not a checkpoint folder", "expected config.json and model.safetensors")),
        (("--from", "t", "--architecture", "resnet18"), 2, ("keeps the architecture", "small_vgg:width=4")),
        (("--from", "hf-hub:a/b/c"), 1, ("'a/b/c' is no repository of the Hub",)),
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
        "epochs": 1, "learning_rate": 0.01, "schedule": "cosine", "minimizer": "sgd",
        "storage": recipe["storage"], "augment": recipe["augment"], "start": model.full_name,
    }  # fmt: skip
    assert plain.config.model_dump(include=set(wanted)) == wanted
    local = ModelSpec(name="source", dataset="stripes", roles=("surrogate",), source=f"local:{source}")
    assert prepare(zoo, local, "sgd", None).config.start == str(source)
    folders = {
        prepare(zoo, model, spec, data).folder
        for model in (model, local)
        for spec in ("sgd", "sam", "sam:rho=0.1", "sgd:epochs=2", "sgd:seed=1")
        for data in (None, Path("here"), Path("there"))
    }
    assert len(folders) == 2 * 5 * 3


FINETUNE = ("attack", "--steps", 3, "--images", 20, "--train-data", "data", "--finetune")
SPEC = "sam:rho=0.1,epochs=2,batch_size=32"


def test_attack_trains_once(
    cli: Run, tmp_path: Path, bench: list[object], source: Path, foreign: Path
) -> None:
    command = (*FINETUNE, SPEC, "-s", source, "-s", "t", "-t", "u", "--json", *bench)
    plan = json.loads(cli(*command, "--dry-run").out)
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
    planned = json.loads(cli(*command, "--dry-run").out)
    assert planned["run_folder"] == str(run)
    assert [one["done"] for one in planned["fine_tunes"]] == [True, True]


def test_attack_compares_before_and_after(cli: Run, bench: list[object], stripes: DatasetSpec) -> None:
    """Originals come first, so that the paired tests have the first as their baseline."""
    train(config(seed=1), stripes, DATA, None, Path("other"))
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
    from transferzoo.loop import Loop

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
        (("sam:rho=-1",), 2, ("rho of sam is out of range",)),
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
)  # fmt: skip
def test_attack_refuses(
    cli: Run, tmp_path: Path, bench: list[object], options: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    refused(cli(*FINETUNE, options[0], "-s", "t", "-t", "u", *bench, *options[1:]), code, *words)
    nothing_written(tmp_path)


def test_training_images_without_a_training(cli: Run, tmp_path: Path, bench: list[object]) -> None:
    result = cli("attack", "-s", "t", "-t", "u", "--train-data", "data", *bench)
    refused(result, 2, "nothing to train on --train-data", "expected --finetune too")
    nothing_written(tmp_path)
