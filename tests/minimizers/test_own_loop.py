"""Minimizers in a user's own loop, and one of a user's own: the README's examples, and the same numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
import torch
from torch import nn

import transferzoo.minimizers
from helpers.minimizers import NAMES, Net, closure_on, make, same, weights
from helpers.processes import printed
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.minimizers import Minimizer, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure

pytestmark = pytest.mark.usefixtures("one_thread")
README = Path(transferzoo.minimizers.__file__).with_name("README.md")
USE = """
model = nn.Linear(2, 1, bias=False)
minimizer = transferzoo.minimizers.RAW_SAM(model, torch.optim.SGD(model.parameters(), lr=0.0), rho=0.5)
batch = torch.tensor([[1.0, 2.0]])
def closure():
    minimizer.optimizer.zero_grad()
    loss = model(batch).square().sum()
    loss.backward()
    return loss
plain = closure() and model.weight.grad.clone()
minimizer.step(closure)
moved = 2 * ((model.weight + 0.5 * plain) @ batch.T) * batch
torch.testing.assert_close(model.weight.grad, moved)
print(transferzoo.minimizers.show_rule("raw-sam"))
"""


def test_the_examples_of_the_readme(tmp_path: Path) -> None:
    loop, rule = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert float(printed(loop, tmp_path)) < 2.3
    imports = "import torch, transferzoo.minimizers\nfrom torch import nn\n"
    assert printed(rule + imports + USE, tmp_path) == "raw-sam:rho=0.05\n"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_trainers(name: str) -> None:
    """The name in capitals on a model and a base optimizer steps as the trainer's spec string does."""
    ours, trained = Net(), Net()
    minimizer = make(name, trained)
    kind = type(minimizer.optimizer)
    groups = {
        k: v for k, v in minimizer.optimizer.defaults.items() if k in ("lr", "weight_decay", "momentum")
    }
    mine = getattr(transferzoo.minimizers, name.upper().replace("-", "_"))(
        ours, kind(ours.parameters(), **groups)
    )
    for step in range(3):
        assert torch.equal(mine.step(closure_on(ours, step)), minimizer.step(closure_on(trained, step)))
    assert same(weights(ours), weights(trained))
    assert mine.rule == minimizer.rule


def test_options_are_keywords() -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    made = transferzoo.minimizers.GSAM(net, optimizer, alpha=0.2, clip=1.0)
    assert (made.rule.spec, made.clip) == ("gsam:rho=0.04,alpha=0.2,base=sgd", 1.0)
    with pytest.raises(
        UsageError, match=r"unknown option 'alhpa' of minimizer 'gsam': .* did you mean alpha"
    ):
        transferzoo.minimizers.GSAM(net, optimizer, alhpa=0.2)
    with pytest.raises(AttributeError, match="no attribute 'GSM'"):
        transferzoo.minimizers.GSM  # noqa: B018
    assert "GSAM" in dir(transferzoo.minimizers)


def test_a_rule_that_does_not_restore_the_weights_is_told_of() -> None:
    """In its first step: by what it adds and by the last digit that taking it away again leaves."""

    @dataclass(frozen=True)
    class Forgetful(Rule):
        name: ClassVar[str] = "forgetful"
        passes: ClassVar[float] = 2
        away: bool = False

        def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
            loss = closure()
            with torch.no_grad():
                for weight in minimizer.weights.parameters:
                    weight.add_(0.1)
            closure()
            with torch.no_grad():
                for weight in minimizer.weights.parameters if self.away else ():
                    weight.sub_(0.1)
            return loss

    for rule in (Forgetful(), Forgetful(away=True)):
        model = nn.Linear(40, 10)
        minimizer = Minimizer(rule, model, torch.optim.SGD(model.parameters(), lr=0.1))

        def closure(model: nn.Module = model) -> Tensor:
            model.zero_grad()
            loss = model(torch.ones(2, 40)).square().mean()
            loss.backward()
            return loss  # type: ignore[no-any-return]

        minimizer.rho_factor = 0.0  # as a radius that warms up begins: nothing moves
        minimizer.step(closure)
        minimizer.rho_factor = 1.0
        with pytest.raises(TransferZooError, match="'forgetful' does not leave the weights as they were"):
            minimizer.step(closure)
