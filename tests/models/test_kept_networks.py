"""The copies of the package's networks that tests work with are as good as what is read from folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from helpers.checkpoints import BUILTIN, copied
from transferzoo.models import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

FOUND = sorted(folder.name for folder in BUILTIN.iterdir() if (folder / "config.json").is_file())
NAMES = [name for name in FOUND if not name.startswith(("resnet50-", "validator-"))] + ["resnet50-sgd"]


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_what_is_read_and_has_tensors_of_its_own(name: str, tmp_path: Path) -> None:
    """Read from a copy of the folder, which no test reads twice."""
    read, _ = checkpoint.load_network(copied(name, tmp_path / name), 10)
    one, other = (checkpoint.load_network(BUILTIN / name, 10)[0] for _ in range(2))
    for states in zip(*(model.state_dict().values() for model in (read, one, other)), strict=True):
        assert all(torch.equal(states[0], state) for state in states)
        assert len({state.data_ptr() for state in states}) == 3
        assert len({state.stride() for state in states}) == 1
    assert type(one) is type(read) and one is not other
    images = torch.rand(2, 1, 28, 28)
    answers = [model.eval()(images) for model in (read, one, other)]
    assert all(torch.equal(answers[0], answer) for answer in answers)
