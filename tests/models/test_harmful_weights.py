"""Weight files that mean harm, or are damaged: none of their code runs, and each is a sentence."""

from __future__ import annotations

import json
import os
import pickle
import time
import warnings
from typing import TYPE_CHECKING

import pytest
import torch

from helpers.weight_files import FILE, tiny
from transferzoo.base.errors import ModelError
from transferzoo.models import conversion
from transferzoo.models.state_dict import read_weights

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("cache")


class Harm:
    """A value that makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


ZIP, OLD, BARE = "zip", "old", "bare"


@pytest.mark.parametrize("way", [ZIP, OLD, BARE])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, cache: Path, way: str) -> None:
    file, place = tmp_path / "w.bin", tmp_path / "harm"
    if way == BARE:
        file.write_bytes(pickle.dumps({"extra": Harm(place)}, protocol=2))
    else:
        torch.save({**tiny(), "extra": Harm(place)}, file, _use_new_zipfile_serialization=way == ZIP)
    reason = r"^the pickle .*/w\.bin is not read: it needs '\w+\.mkdir', so it could run code"
    with pytest.raises(ModelError, match=reason) as caught:
        conversion.convert_weights(file, FILE, {})
    assert "\n" not in str(caught.value) and not place.exists()
    assert not list(cache.glob("converted/*/*"))
    torch.load(file, weights_only=False) if way != BARE else pickle.loads(file.read_bytes())
    assert place.exists(), "it means harm"


DAMAGED = {
    "empty": b"",
    "zeros": bytes(100),
    "text": b"<html>404</html>",
    "half a zip": b"PK\x03\x04" + bytes(50),
    "a newer pickle": pickle.dumps({"a": 1}, protocol=4),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("pickled", [True, False])
def test_damaged_files_are_sentences(tmp_path: Path, kind: str, pickled: bool) -> None:
    (tmp_path / "w.bin").write_bytes(DAMAGED[kind])
    sentence = "is not read: it is damaged or no such pickle" if pickled else "cannot read the weights"
    weights = FILE.model_copy(update={"pickle": pickled})
    recorded = warnings.catch_warnings(record=True, action="always")
    with recorded as said, pytest.raises(ModelError, match=sentence) as caught:
        conversion.convert_weights(tmp_path / "w.bin", weights, {})
    assert "\n" not in str(caught.value) and not said


def test_a_pickle_is_no_safetensors_file_whatever_its_name(tmp_path: Path) -> None:
    place = tmp_path / "harm"
    torch.save({"a": Harm(place)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"^cannot read the weights .*model\.safetensors: "):
        read_weights(tmp_path / "model.safetensors")
    assert not place.exists()


HEADERS: dict[str, bytes | str] = {
    "long": (2**40).to_bytes(8, "little") + b"{}",
    "all of it": (2**64 - 1).to_bytes(8, "little"),
    "large": json.dumps({"a": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}),
    "overflowing": json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_safetensors_file_that_claims_to_be_huge(tmp_path: Path, kind: str) -> None:
    header = HEADERS[kind]
    if isinstance(header, str):
        header = len(header).to_bytes(8, "little") + header.encode() + bytes(4)
    (tmp_path / "model.safetensors").write_bytes(header)
    started = time.monotonic()
    with pytest.raises(ModelError, match="cannot read the weights"):
        read_weights(tmp_path / "model.safetensors")
    assert time.monotonic() - started < 5
