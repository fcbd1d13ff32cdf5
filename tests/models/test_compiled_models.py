"""Models whose layers cannot be seen or changed, as surrogates and targets."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from helpers.attacks import craft, make_attack, random_images
from helpers.networks import normed_cnn
from transferzoo.base.errors import ModelError
from transferzoo.models.classifier import Classifier
from transferzoo.models.optimize import optimize
from transferzoo.models.sources import python_function
from transferzoo.models.weight_digests import state_digest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = random_images(4)
PIXELS = IMAGES.images.float() / 255


class Behind(nn.Module):
    """A layer of its own in front of another model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.model = model
        nn.init.dirac_(self.first.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model(self.norm(self.first(images)))
        return result


def exported() -> nn.Module:
    count = torch.export.Dim("count")
    program = torch.export.export(normed_cnn(), (PIXELS,), dynamic_shapes=({0: count},))
    module: nn.Module = program.module()
    return module


FORMS: dict[str, Callable[[], Any]] = {
    "traced": lambda: torch.jit.trace(normed_cnn(), PIXELS),
    "scripted": lambda: torch.jit.script(normed_cnn()),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(normed_cnn())),
    "within": lambda: Behind(torch.jit.script(normed_cnn())).eval(),
    "compiled": lambda: torch.compile(normed_cnn(), backend="eager"),
    "compiled within": lambda: Behind(FORMS["compiled"]()).eval(),
    "symbolic": lambda: torch.fx.symbolic_trace(normed_cnn()),
    "exported": exported,
}


def quietly(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings(action="ignore"):  # of what PyTorch will no longer have one day
        return make()


def reading(model: Any) -> Classifier:
    found = Classifier(model, channels=3)
    return python_function._evaluating(found)


@pytest.mark.filterwarnings("ignore")  # of PyTorch's own, while it compiles
@pytest.mark.parametrize("name", FORMS)
def test_what_is_compiled_is_attacked_like_what_it_was_compiled_from(name: str) -> None:
    model = reading(quietly(FORMS[name]))
    ready = optimize(model, IMAGES.images, precision="fp32")
    torch.testing.assert_close(ready(PIXELS), normed_cnn()(PIXELS), rtol=1e-4, atol=1e-5)
    attack = make_attack(steps=1)  # later steps follow the last bits of the first
    found, wanted = (
        craft(attack, surrogate, IMAGES, dtype=torch.float32) for surrogate in (ready, reading(normed_cnn()))
    )
    assert (found == wanted).float().mean() > 0.99
    assert not torch.equal(found, IMAGES.images)


def quantised(seed: int = 0, dtype: torch.dtype = torch.qint8) -> nn.Module:
    module: nn.Module = torch.ao.quantization.quantize_dynamic(normed_cnn(seed), {nn.Linear}, dtype=dtype)
    return module


class WithState(nn.Module):
    """A module with a state of its own besides tensors."""

    def __init__(self, state: object) -> None:
        super().__init__()
        self.state = state

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: object) -> None:
        self.state = state


DIGESTED: dict[str, Callable[[], nn.Module]] = {
    "quantised": quantised,
    "other weights": lambda: quantised(1),
    "other numbers": lambda: quantised(0, torch.float16),
    "a dictionary": lambda: WithState({"mode": "fast", "scale": torch.ones(2)}),
    "another": lambda: WithState({"mode": "slow", "scale": torch.ones(2)}),
    "a list": lambda: WithState([torch.zeros(2), None, 0.5]),
    "sparse": lambda: WithState(torch.eye(3).to_sparse()),
}


def test_state_that_is_no_tensor_tells_models_apart() -> None:
    first, again = ([state_digest(quietly(make)) for make in DIGESTED.values()] for _ in range(2))
    assert first == again
    assert len(set(first)) == len(DIGESTED)
    with pytest.raises(TypeError, match="object beside its weights"):
        state_digest(WithState(object()))


@pytest.mark.filterwarnings("ignore:quantized")
def test_a_quantised_model_is_a_target_and_no_surrogate() -> None:
    model = reading(quietly(quantised))
    with torch.no_grad():
        assert model(PIXELS).shape == (4, 10)
    with pytest.raises(ModelError, match=r"no gradient reaches the images; .* as quantised ones do"):
        craft(make_attack(steps=1), model, IMAGES, dtype=torch.float32)
