"""What the zoo says of the Hub, asked of the Hub itself: `pytest -m network`. No weights are downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from transferzoo import hub
from transferzoo.base.errors import ModelError
from transferzoo.models import build, checkpoint
from transferzoo.models.sources.hub_repository import HubRepository
from transferzoo.models.state_dict import check_fit
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from transferzoo.zoo.schema import ModelSpec

pytestmark = pytest.mark.network
ZOO = load_zoo()
ON_HUB = [model for model in ZOO.models.values() if model.source.state == "hub"]


def place(model: ModelSpec) -> tuple[str, str | None]:
    assert isinstance(model.source, HubRepository)
    return model.source.repo, model.source.revision


@pytest.mark.parametrize("model", ON_HUB, ids=lambda model: model.full_name)
def test_repository_revision_file_and_licence(model: ModelSpec) -> None:
    from huggingface_hub import HfApi

    (repo, revision), api = place(model), HfApi()
    wanted = [model.weights.file] if model.weights else [checkpoint.CONFIG, checkpoint.WEIGHTS]
    found: dict[str, Any] = {
        entry.path: entry for entry in api.get_paths_info(repo, wanted, revision=revision)
    }
    assert sorted(found) == sorted(wanted)
    assert all(entry.size > 0 for entry in found.values())
    if model.weights and model.weights.sha256:
        assert found[model.weights.file].lfs.sha256 == model.weights.sha256
    card = api.model_info(repo, revision=revision).card_data
    assert card is None or card.license in (None, model.licence)


READABLE = [model for model in ON_HUB if not (model.weights and model.weights.pickle)]


@pytest.mark.parametrize("model", READABLE, ids=lambda model: model.full_name)
def test_weights_fit_their_network(model: ModelSpec) -> None:
    """Only the header of the file is read, and timm's config.json."""
    from huggingface_hub import HfApi

    repo, revision = place(model)
    assert model.weights is None, "a file in another format needs its own check"
    folder = hub.download_file(repo, checkpoint.CONFIG, revision=revision).parent
    config = checkpoint.read_config(folder)
    assert config["num_classes"] == len(ZOO.dataset(model.dataset).classes)
    header = HfApi().parse_safetensors_file_metadata(repo, checkpoint.WEIGHTS, revision=revision)
    shapes = {name: tuple(tensor.shape) for name, tensor in header.tensors.items()}
    with torch.device("meta"):
        own = checkpoint.rebuild(folder, config, config["num_classes"]).state_dict()
        stored = {name: torch.empty(shape) for name, shape in shapes.items()}
    try:
        check_fit(own, stored, "the weights", "")
    except ModelError:  # timm has to repair them, for which it needs tensors
        zeros = {name: torch.zeros(shape) for name, shape in shapes.items()}
        known = config["architecture"], config["num_classes"], config["model_args"], config["pretrained_cfg"]
        assert build.filtered(*known, zeros), sorted(own.keys() ^ shapes.keys())
