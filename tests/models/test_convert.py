"""Weight files of others, read in several ways; what they should not hold is a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.full_disk import fill_disk
from helpers.original_networks import (
    alive,
    logits,
)
from helpers.weight_files import FILE, tiny
from transferzoo.base.errors import ModelError, TransferZooError
from transferzoo.models import checkpoint, conversion
from transferzoo.models.build import read
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.download import download_model
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.zoo.reader import load_zoo
from transferzoo.zoo.schema import ROLES, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

pytestmark = pytest.mark.usefixtures("one_thread", "cache")
ZOO = load_zoo()
FASHION = ZOO.dataset("fashion-mnist")


HEAD = "head.fc.weight"


def convert(file: Path, content: object, **changes: Any) -> Path:
    """Store some content as a pickle, and convert it."""
    torch.save(content, file)
    return conversion.convert_weights(file, FILE.model_copy(update=changes), {"file": file.name})


def test_safetensors_need_no_pickle(tmp_path: Path) -> None:
    state = tiny()
    save_file({f"net.{name}": tensor for name, tensor in state.items()}, tmp_path / "w.safetensors")
    weights = FILE.model_copy(update={"file": "w.safetensors", "pickle": False, "prefix": "net."})
    told: list[str] = []
    folder = conversion.convert_weights(tmp_path / "w.safetensors", weights, {}, told.append)
    assert told == []
    found = load_file(folder / checkpoint.WEIGHTS)
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
    theirs, ours = (
        timm.create_model(f"local-dir:{folder}", pretrained=True).eval(),
        load_checkpoint(folder, FASHION),
    )
    pixels = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(logits(theirs, (pixels - 0.3) / 0.4), logits(ours, pixels))


def without_counts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("architecture", "size", "age"),
    [
        ("small_vgg:width=4", 28, without_counts),
        ("small_resnet18:width=8", 28, without_counts),
        ("test_resnet", 28, without_counts),
        ("levit_128s", 224, lambda s: s | {"stages.0.blocks.0.attn.attention_bias_idxs": torch.zeros(1)}),
    ],
)
def test_buffers_of_other_versions_do_not_matter(
    architecture: str, size: int, age: Callable[[dict[str, Tensor]], dict[str, Tensor]], tmp_path: Path
) -> None:
    name, arguments = read(architecture)
    model = alive(lambda: timm.create_model(name, num_classes=10, in_chans=1, **arguments))
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    old = age(state)
    assert old.keys() != state.keys()
    save_file(old, tmp_path / "w.safetensors")
    changes = {"architecture": architecture, "pickle": False, "input_size": (1, size, size)}
    weights = FILE.model_copy(update={**changes, "arguments": {"num_classes": 10}})
    found = load_file(
        conversion.convert_weights(tmp_path / "w.safetensors", weights, {}) / checkpoint.WEIGHTS
    )
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in without_counts(state))
    save_file({key: old[key] for key in [*old][1:]}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="do not fit their architecture"):
        conversion.convert_weights(tmp_path / "w.safetensors", weights, {})


def test_other_number_formats_and_shared_numbers(tmp_path: Path) -> None:
    state = tiny()
    halves = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    halves["features.1.bias"] = halves["features.1.weight"]
    found = load_file(convert(tmp_path / "w.bin", halves) / checkpoint.WEIGHTS)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32, torch.int64}
    assert torch.equal(found["features.1.bias"], halves["features.1.weight"].float())
    assert torch.equal(found[HEAD], halves[HEAD].float())
    state["features.1.bias"] = state["features.1.weight"]
    found = load_file(convert(tmp_path / "w.bin", state) / checkpoint.WEIGHTS)
    assert torch.equal(found["features.1.bias"], state["features.1.weight"])


def test_contents_have_folders_of_their_own(tmp_path: Path, cache: Path) -> None:
    state = tiny()
    drawn = torch.random.get_rng_state()
    first = convert(tmp_path / "w.bin", state)
    assert torch.equal(torch.random.get_rng_state(), drawn), "the global generator is left alone"
    time_of = (first / checkpoint.WEIGHTS).stat().st_mtime_ns
    assert convert(tmp_path / "w.bin", state) == first
    assert (first / checkpoint.WEIGHTS).stat().st_mtime_ns == time_of, "written once"
    other = convert(tmp_path / "w.bin", state, mean=(0.5,))
    changed = convert(tmp_path / "w.bin", state | {HEAD: state[HEAD] + 1})
    assert len({first, other, changed}) == 3 == len(list((cache / "converted").iterdir()))
    assert checkpoint.read_config(other)["pretrained_cfg"]["mean"] == [0.5]


def test_a_conversion_that_stopped_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last file it writes goes to a full disk."""
    folder = convert(tmp_path / "w.bin", tiny())
    (folder / checkpoint.WEIGHTS).unlink()
    with monkeypatch.context() as patch, pytest.raises(TransferZooError, match="the disk is full"):
        fill_disk(patch, checkpoint.WEIGHTS)
        convert(tmp_path / "w.bin", tiny())
    assert not (folder / checkpoint.WEIGHTS).exists()
    assert convert(tmp_path / "w.bin", tiny()) == folder
    assert load_checkpoint(folder, FASHION).size == (28, 28)


def _flip(folder: Path) -> None:
    content = bytearray((folder / checkpoint.WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / checkpoint.WEIGHTS).write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": _flip,
    "half the weights": lambda f: (f / checkpoint.WEIGHTS).write_bytes(
        (f / checkpoint.WEIGHTS).read_bytes()[:999]
    ),
    "another normalisation": lambda f: (f / checkpoint.CONFIG).write_text(
        (f / checkpoint.CONFIG).read_text().replace("0.3", "0.5")
    ),
    "no configuration": lambda f: (f / checkpoint.CONFIG).unlink(),
    "a torn origin": lambda f: (f / conversion.ORIGIN).write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_damaged_since_is_converted_again(tmp_path: Path, damage: str) -> None:
    folder = convert(tmp_path / "w.bin", tiny())
    before = {file: file.read_bytes() for file in folder.iterdir()}
    DAMAGE[damage](folder)
    assert {file: file.read_bytes() for file in folder.iterdir()} != before
    assert convert(tmp_path / "w.bin", tiny()) == folder
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def changed(**tensors: Tensor | None) -> dict[str, Any]:
    """Return the weights with some changed, or removed."""
    state: dict[str, Any] = tiny()
    for key, tensor in tensors.items():
        state[key] = tensor
    return {key: tensor for key, tensor in state.items() if tensor is not None}


WRONG: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "under": (tiny, {"under": ("net",)}, r"does not hold weights under 'net': expected one of 'feat.*, …\.$"),
    "too deep": (tiny, {"under": (HEAD, "a")}, r"does not hold weights under 'a': expected a mapping\.$"),
    "a list": (lambda: [1, 2], {}, r"holds no weights: expected names and tensors, got list; save the model"),
    "prefix": (tiny, {"prefix": "net."}, r"holds no weights that begin with 'net\.': expected one of 'feat"),
    "a number": (lambda: changed() | {HEAD: 3}, {}, r"'head\.fc\.weight' in .* is no weight: .* got int\.$"),
    "sparse": (lambda: changed(**{HEAD: torch.ones(10, 32).to_sparse()}), {}, "is no weight: expected a ten"),
    "nowhere": (lambda: changed(**{HEAD: torch.ones(10, 32, device="meta")}), {}, "is no weight: expected"),
    "missing": (lambda: changed(**{HEAD: None}), {}, rf"do not fit their architecture: '{HEAD}' is missing"),
    "unexpected": (
        lambda: changed(mean=torch.zeros(1)),
        {},
        r"'mean' is unexpected; check the architecture, or `weights` of the zoo entry\.$",
    ),
    "shape": (
        lambda: changed(**{HEAD: torch.ones(1).expand(10**9, 10**4)}),
        {},
        rf"shape of '{HEAD}': expected \(10, 32\), got \(1000000000, 10000\)",
    ),
    "nan": (lambda: changed(**{HEAD: torch.full((10, 32), torch.nan)}), {}, rf"'{HEAD}' of .* is not finite"),
    "architecture": (tiny, {"architecture": "small_vggg"}, r"^w\.bin: unknown architecture 'small_vggg'"),
    "elsewhere": (tiny, {"architecture": "hf-hub:a/b"}, r"^w\.bin: cannot read 'a/b' in 'hf-hub:a/b'"),
    "fetching": (tiny, {"arguments": {"pretrained": True}}, "'pretrained' is no option of architecture"),
    "another file": (tiny, {"sha256": "0" * 64}, r"w\.bin is another file: expected the SHA-256 0+, got "),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_a_sentence(tmp_path: Path, cache: Path, case: str) -> None:
    content, changes, sentence = WRONG[case]
    with pytest.raises(ModelError, match=sentence) as caught:
        convert(tmp_path / "w.bin", content(), **changes)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("converted/*/*"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^cannot read the weights .*/no\.bin: .*; check its place"):
        conversion.convert_weights(tmp_path / "no.bin", FILE, {})


# ---------------------------------------------------------------- on the command line

MINE = """
models:
  fashion-mnist:
    pickled:
      roles: [target]
      source: "local:."
      weights: {file: w.bin, pickle: true, architecture: small_vgg, input_size: [1, 28, 28], mean: [0.286],
                std: [0.353]}
"""


def test_the_command_line_says_that_it_reads_a_pickle(
    cli: Callable[..., Result], few: Path, tmp_path: Path
) -> None:
    torch.save(load_file(ZOO.models["fashion-mnist/vgg"].folder / checkpoint.WEIGHTS), tmp_path / "w.bin")
    (tmp_path / "mine.yaml").write_text(MINE)
    flags = ("--zoo", "mine.yaml", "--data", few, "--steps", 1, "--images", 4, "--json")
    command = ("attack", "-s", "vgg", "-t", "pickled", *flags)
    first = cli(*command)
    assert first.code == 0, first.err
    assert "w.bin is a pickle: it is read as tensors only, once, and kept as safetensors in " in first.err
    again = cli(*command)
    assert again.code == 0 and "pickle" not in again.err


def test_a_weight_file_has_a_place(tmp_path: Path) -> None:
    model = ModelSpec(
        name="a", dataset="fashion-mnist", roles=ROLES, source=LocalFolder(tmp_path), weights=FILE
    )
    with pytest.raises(ModelError, match=r"cannot read the weights .*/w\.bin: no such file"):
        download_model(model)
