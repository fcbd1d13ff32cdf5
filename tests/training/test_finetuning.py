"""Fine-tuning: what is kept of the source, and what starts afresh."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.models import save_for_hf

from helpers.checkpoints import content, copied, with_json, with_weights
from helpers.hub_server import COMMIT, connect, running
from helpers.stripes import MORE, TINY, ZOO, config, draw, write_idx
from transferzoo.base.errors import ModelError, TransferZooError, UsageError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models import checkpoint
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.download import download_model
from transferzoo.models.resolve import resolve_model
from transferzoo.training import finetuning
from transferzoo.training.finetuning import architecture_of, begin
from transferzoo.training.trainer import Progress, train
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run
    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

HEAD = ["head.fc.bias", "head.fc.weight"]


def tuned(start: Path, **changes: Any) -> Any:
    return config(**{"epochs": 1, "architecture": architecture_of(start), "start": str(start), **changes})


# ---------------------------------------------------------------- what is kept


def test_it_starts_from_the_source(tmp_path: Path, stripes: DatasetSpec, source: Path) -> None:
    """The first loss is the source's, a tiny rate leaves its weights, and its files are not touched."""
    before, seen = content(source), list[Progress]()
    wanted = tuned(source, learning_rate=1e-9, weight_decay=0, batch_size=160, augment="none")
    recipe = train(wanted, stripes, draw(160, 0), None, tmp_path, start=source, on_progress=seen.append)
    with torch.no_grad():
        logits = load_checkpoint(source, stripes).train()(draw(160, 0).images / 255)
    assert seen[0].loss == pytest.approx(float(F.cross_entropy(logits, draw(160, 0).labels)), rel=1e-5)
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
    recipe = train(wanted, bricks, draw(160, 0), None, tmp_path / "a", start=source, on_progress=seen.append)
    assert recipe["fresh"] == HEAD
    assert seen[0].loss > 1
    old, new = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "a"))
    assert new["head.fc.weight"].shape == (4, old["head.fc.weight"].shape[1])
    for name in (name for name in old if name not in HEAD and "running" not in name and "num" not in name):
        torch.testing.assert_close(new[name], old[name], rtol=0, atol=1e-6)
    for number, seed in (("b", 0), ("c", 1)):
        again = wanted.model_copy(update={"seed": seed})
        train(again, bricks, draw(160, 0), None, tmp_path / number, start=source)
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
    recipe = train(wanted, stripes, draw(160, 0), draw(60, 1), tmp_path / "a", start=foreign)
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
    classifier = load_checkpoint(tmp_path / "a", stripes)
    assert (classifier.channels, classifier.size) == (3, (32, 32))
    assert recipe["accuracy"]["accuracy"] > 0.6, "chance is a third"
    theirs = timm.create_model(f"local-dir:{tmp_path / 'a'}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), classifier.model(images))
    again = train(tuned(tmp_path / "a"), stripes, draw(160, 0), None, tmp_path / "b", start=tmp_path / "a")
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
    train(wanted, stripes, draw(160, 0), None, tmp_path / "whole", start=foreign)

    def stop(at: Progress) -> None:
        if at.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(wanted, stripes, draw(160, 0), None, tmp_path / "parts", start=foreign, on_progress=stop)
    seen: list[int] = []
    train(
        wanted,
        stripes,
        draw(160, 0),
        None,
        tmp_path / "parts",
        start=foreign,
        on_progress=lambda at: seen.append(at.epoch),
    )
    assert set(seen) == {3}
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_other_weights_are_another_training(tmp_path: Path, stripes: DatasetSpec, source: Path) -> None:
    wanted = tuned(source)
    train(wanted, stripes, draw(160, 0), None, tmp_path / "a", start=source)
    with pytest.raises(UsageError, match="holds another training run"):
        train(wanted, stripes, draw(160, 0), None, tmp_path / "a", start=tmp_path / "a")


# ---------------------------------------------------------------- from the Hub


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the client's own
def test_from_the_hub(tmp_path: Path, foreign: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client and the real command line: both files come, of one commit, and once."""
    write_idx(tmp_path / "data", "train", draw(160, 0))
    (tmp_path / "zoo.yaml").write_text(ZOO)
    files = {f"owner/model/{name}": data for name, data in content(foreign).items()}

    def found(name: str) -> Path:
        return download_model(resolve_model(load_zoo(), name)).folder

    with running({**files, "owner/bare/config.json": b"{}"}) as hub:
        connect(monkeypatch, hub, tmp_path / "hub")
        options = ("--dataset", "stripes", "--zoo", "zoo.yaml", "--data", "data", "--epochs", 1, "--json")
        done = cli("train", "--from", "hf-hub:owner/model", "--output", "out", *options)
        assert done.code == 0, done.err
        assert json.loads(done.out)["start"] == checkpoint.digest(foreign)
        assert "Note: the model " in done.err
        assert "its head (fc.bias, fc.weight) starts afresh." in done.err
        first = found("hf-hub:owner/model")
        assert found(f"hf-hub:owner/model@{COMMIT}") == first
        absent = rf"the model owner/bare has no file model\.safetensors in '{COMMIT}': expected a repository"
        with pytest.raises(TransferZooError, match=absent):
            found("hf-hub:owner/bare")
        assert content(first) == content(foreign)
        assert hub.count("GET", "model.safetensors") == 1
    connect(monkeypatch, hub, tmp_path / "hub", HF_HUB_OFFLINE="1")
    assert found("hf-hub:owner/model") == first
