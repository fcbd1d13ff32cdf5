"""Zero-shot classifiers of open_clip: as open_clip itself says, of any prompt, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

from helpers.foreign_models import CLIP, FASHION, save_clip
from helpers.hub_server import COMMIT, connect, running
from helpers.refusals import refused
from helpers.short_attack import TRY, by_pair
from transferzoo import load_images, load_model
from transferzoo.base.errors import ModelError, TransferZooError, UnknownNameError, UsageError
from transferzoo.models.load import load_classifier
from transferzoo.models.open_clip_files import is_open_clip
from transferzoo.models.open_clip_folder import identity
from transferzoo.models.resolve import resolve_model
from transferzoo.models.unlisted_options import UnlistedOptions
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from helpers.refusals import Run

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, few: Path) -> Path:
    place = tmp_path_factory.mktemp("clip") / "my-clip"
    save_clip(place, few)
    return place


def own_logits(folder: Path, images: torch.Tensor, prompt: str) -> torch.Tensor:
    """Return the logits of open_clip's own pipeline for uint8 images (N, 3, H, W)."""
    open_clip, where = import_module("open_clip"), f"local-dir:{folder}"
    model, _, reads = open_clip.create_model_and_transforms(where)
    pixels = torch.stack([reads(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images])
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(
            model.eval(), open_clip.get_tokenizer(where), FASHION.classes, [prompt]
        )
        found: torch.Tensor = model.logit_scale.exp() * model.encode_image(pixels, normalize=True) @ weights
    return found


@pytest.mark.parametrize("prompt", ["", "{}", "a drawing of a {}, small"])
def test_it_says_what_open_clip_says(folder: Path, few: Path, prompt: str) -> None:
    known = load_images(root=few)
    model = resolve_model(load_zoo(), str(folder), "fashion-mnist")
    asked = model.model_copy(update={"source": model.source.asked_by(UnlistedOptions(prompt=prompt))})
    loaded = load_classifier(asked, FASHION)
    expected = own_logits(folder, known.images.expand(-1, 3, -1, -1), prompt or "a photo of a {}.")
    with torch.no_grad():
        found = loaded(known.images / 255)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    accuracy = float((found.argmax(1) == known.labels).float().mean())
    assert accuracy > 0.8 if not prompt else accuracy < 0.8
    assert (asked.source.identity() == model.source.identity()) == (not prompt)  # type: ignore[attr-defined]


def test_other_sizes_are_resized_as_open_clip_does(folder: Path) -> None:
    images = torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8, generator=torch.manual_seed(0))
    with torch.no_grad():
        found = load_model(str(folder))(images / 255)
    expected = own_logits(folder, images, "a photo of a {}.")
    assert (found - expected).abs().max() < 0.05 * expected.std()


def test_the_prompt_is_a_flag(cli: Run, few: Path, folder: Path) -> None:
    command = (
        *TRY,
        "--data",
        few,
        "-t",
        folder,
        "--images-correct-for",
        "none",
        "--allow-inaccurate",
        "--json",
    )
    usual, other = (by_pair(cli(*command, "--prompt", text)) for text in ("a photo of a {}.", "{}"))
    name = next(target for _, target in usual if target != "vgg")
    assert usual["resnet50-sgd", name]["target_accuracy"] > other["resnet50-sgd", name]["target_accuracy"]
    for wrong in ("a photo", "{} and {}", "{name}", "{0}"):
        refused(cli(*command, "--prompt", wrong), 2, "--prompt has no place for a class", f"got {wrong}")


def test_a_repository_is_pulled_and_known(
    cli: Run, few: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"me/clip/{file.name}": file.read_bytes() for file in folder.iterdir()}
    files["me/clip/run.py"] = b"raise SystemExit"
    files["me/both/config.json"] = json.dumps({"model_type": "clip", "architectures": ["CLIPModel"]}).encode()
    files |= {f"me/both/{file.name}": file.read_bytes() for file in folder.iterdir()}
    with running(files) as hub:
        connect(monkeypatch, hub, tmp_path / "client")
        for name in ("hf-hub:me/clip", f"hf-hub:me/both@{COMMIT}"):
            (before,) = json.loads(cli("show", name, "--json").out)
            planned = cli("pull", name, "--dry-run", "--json")
            assert planned.code == 0, planned.err
            size = sum(file.stat().st_size for file in folder.iterdir())
            assert str(size) in planned.out
            assert cli("pull", name).code == 0
            (after,) = json.loads(cli("show", name, "--json").out)
            assert (before["state"], after["state"]) == ("hub", "cached")
        found = load_model("hf-hub:me/both")
    assert not list((tmp_path / "client").rglob("run.py"))
    pixels = load_images(root=few).images[:4] / 255
    with torch.no_grad():
        torch.testing.assert_close(found(pixels), load_model(str(folder))(pixels))


def test_a_classifier_beside_it_goes_first(folder: Path, tmp_path: Path) -> None:
    """Whatever lies in the cache, or in a folder of the user's."""
    both = Path(shutil.copytree(folder, tmp_path / "both"))
    for config, is_clip in (({"num_classes": 0}, True), ({"num_classes": 10}, False)):
        (both / "config.json").write_text(json.dumps(config))
        assert is_open_clip(both) == is_clip


def test_code_of_a_tokenizer_is_not_run(folder: Path, tmp_path: Path) -> None:
    """The config asks transformers to trust it."""
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    config = json.loads((own / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {
        "hf_tokenizer_name": "x",
        "tokenizer_kwargs": {"trust_remote_code": True},
    }
    (own / "open_clip_config.json").write_text(json.dumps(config))
    named = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own_tokens.Own", None]}}
    (own / "tokenizer_config.json").write_text(json.dumps(named))
    (own / "own_tokens.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: ...\n")
    with pytest.raises(ModelError, match="open_clip cannot load"):
        load_model(str(own))
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_tells_models_apart(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    before = identity(other, "{}")
    (other / "tokenizer.json").write_text("{}")
    assert identity(other, "{}")[1] != before[1]


# ---------------------------------------------------------------- wrong uses


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("open_clip:ViT-B-32", "is no model of open_clip: expected open_clip:ARCHITECTURE/TAG"),
        ("open_clip:", "is no model of open_clip"),
        ("open_clip:ViT-B-33/openai", "unknown model 'ViT-B-33' of open_clip.*did you mean ViT-B-32"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79", "unknown weights .*did you mean laion2b_s34b_b79k"),
    ],
)
def test_unknown_models_are_a_sentence(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_model(name)
    assert issubclass(UnknownNameError, UsageError)


def test_weights_that_are_not_on_the_hub_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    known = import_module("open_clip.pretrained")._PRETRAINED
    monkeypatch.setitem(known, "Mine", {"here": {"url": "https://host/net.pt"}})
    with pytest.raises(UsageError, match="the weights Mine/here of open_clip are not on the Hub"):
        load_model("open_clip:Mine/here")


def test_without_the_extra_there_is_a_command(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    for name in ("open_clip:ViT-B-32/openai", str(folder)):
        with pytest.raises(TransferZooError, match=r"pip install 'transferzoo\[open_clip\]'"):
            load_model(name)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"model_cfg": {**CLIP, "text_cfg": {"hf_model_name": "roberta-base"}}},
            "another model, roberta-base",
        ),
        ({"model_cfg": {**CLIP, "embed_dim": 16}}, "open_clip cannot load .*RuntimeError"),
        ({"model_cfg": {}}, "cannot read .*open_clip_config.json: KeyError"),
        ([], "cannot read .*open_clip_config.json: TypeError"),
    ],
)
def test_damaged_folders_are_a_sentence(folder: Path, tmp_path: Path, config: Any, words: str) -> None:
    place = tmp_path / "broken"
    place.mkdir()
    (place / "open_clip_model.safetensors").symlink_to(folder / "open_clip_model.safetensors")
    (place / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=words):
        load_model(str(place))


def test_classes_without_names_are_a_sentence(folder: Path) -> None:
    numbers = FASHION.model_copy(update={"classes": tuple(map(str, range(10)))})
    model = resolve_model(load_zoo(), str(folder), "fashion-mnist")
    with pytest.raises(UsageError, match="has no names of its classes"):
        load_classifier(model, numbers)
