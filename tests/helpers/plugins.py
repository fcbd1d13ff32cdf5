"""A plug-in with one thing of each kind, and what commands made with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SOURCE = '''
"""One technique, minimizer, architecture, defence, reader and form of a model's source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, Filter
from transferzoo.datasets import READERS, Batch, Reader
from transferzoo.defences import DEFENCES, Defence
from transferzoo.minimizers import MINIMIZERS, Rule
from transferzoo.models.architectures import architecture
from transferzoo.zoo.model_source import LoadableSource, model_source
from transferzoo.zoo.schema import ROLES, ModelSpec


@TECHNIQUES.register("flat-sign")
@dataclass(frozen=True)
class FlatSign(Filter):
    """The sign of the gradient, where it is larger than a share of its mean absolute value; else zero."""

    paper: ClassVar[str] = "nobody 2026, https://example.org"

    share: float = 0.5

    def wrap(self, oracle, unit):
        def filtered(images):
            gradient = oracle(images)
            mean = gradient.abs().mean((1, 2, 3), keepdim=True)
            return gradient.sign() * (gradient.abs() > self.share * mean)

        return filtered


@MINIMIZERS.register("half-sgd")
@dataclass(frozen=True)
class HalfSgd(Rule):
    """SGD with half the gradient."""

    passes: ClassVar[float] = 1
    paper: ClassVar[str] = "nobody 2026, https://example.org"

    factor: float = 0.5

    def gradients(self, minimizer, closure):
        loss = closure()
        minimizer.weights.give([g if g is None else g * self.factor for g in minimizer.weights.take()])
        return loss


@architecture(family="conv", paper="nobody 2026, https://example.org")
def one_conv(num_classes=10, in_chans=1, width=8):
    """A convolution, its mean, and a linear layer."""
    from torch import nn

    class OneConv(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_classes, self.num_features = num_classes, width
            self.conv = nn.Conv2d(in_chans, width, 3)
            self.head = nn.Linear(width, num_classes)

        def forward(self, images):
            return self.head(self.conv(images).relu().mean((2, 3)))

    return OneConv()


@DEFENCES.register("mirror")
@dataclass(frozen=True)
class Mirror(Defence):
    """The image as a mirror shows it."""

    paper: ClassVar[str] = "nobody 2026, https://example.org"

    def views(self, images, ids):
        yield images.flip(3).float() / 255


@READERS.register("raw")
class Raw(Reader):
    """`{split}.raw`: three bytes with channels, height and width; a byte a pixel and one of the label."""

    priority: ClassVar[int] = 0
    layout: ClassVar[str] = "{split}.raw"

    def accepts(self, root, split):
        return (root / f"{split}.raw").is_file()

    def shape(self, root, split):
        return tuple((root / f"{split}.raw").read_bytes()[:3])

    def read(self, root, split, spec, on_progress):
        import torch

        content = torch.frombuffer(bytearray((root / f"{split}.raw").read_bytes()[3:]), dtype=torch.uint8)
        rows = content.view(-1, spec.channels * spec.size**2 + 1)
        images = rows[:, :-1].view(-1, spec.channels, spec.size, spec.size)
        return Batch(images, rows[:, -1].long(), torch.arange(len(rows)))


@model_source("same")
@dataclass(frozen=True)
class Same(LoadableSource):
    """A model that says the same class of every image."""

    answer: int
    pattern: ClassVar[str] = "CLASS"
    written: ClassVar[str] = "same:CLASS"

    @classmethod
    def parse(cls, place):
        return cls(int(place))

    @classmethod
    def unlisted(cls, written, dataset, options):
        return ModelSpec(name=f"same-{written}", dataset=dataset.name, roles=ROLES, source=cls.parse(written))

    @property
    def place(self):
        return str(self.answer)

    def load(self, dataset, weights=None):
        import torch

        from transferzoo.models.classifier import Classifier
        from transferzoo.models.predictor import Predictor

        scores = torch.zeros(len(dataset.classes))
        scores[self.answer] = 1
        model = Predictor(lambda images: scores.expand(len(images), -1), len(scores), str(self))
        return Classifier(model, channels=dataset.channels).eval()

    def gives_gradients(self):
        return False

    def identity(self):
        return f"same {self.answer}", "a constant"
'''
"""The plug-in's only file."""

NAMES = {
    "attacks": "flat-sign",
    "minimizers": "half-sgd",
    "architectures": "one_conv",
    "defences": "mirror",
    "formats": "raw",
}
"""What lists show of it."""


ROOT = Path(__file__).parents[2]


TECHNIQUE = """
from dataclasses import dataclass
from transferzoo.attacks.techniques import TECHNIQUES, Filter

@TECHNIQUES.register("{name}")
@dataclass(frozen=True)
class Same(Filter):
    paper = "nobody, https://example.org"
    def wrap(self, oracle, unit):
        return oracle
"""


STUDY_OF_PLUGIN = """
about: Does half of SGD help?
dataset: stripes
seeds: [0, 1]
train: {architecture: one_conv, epochs: 1, batch_size: 16, augment: none}
surrogates:
  half: {minimizer: half-sgd}
targets: [half]
images_correct_for: none
attacks: [{spec: flat-sign+mi, steps: 2}]
"""


WHERE = ("--data", "data", "--zoo", "zoo.yaml", "--dataset", "stripes")


NET = ("--architecture", "one_conv", "--minimizer", "half-sgd", "--augment", "none")


TRAIN = ("train", *WHERE, *NET, "--epochs", "6", "--batch-size", "16", "--lr", "1", "--output", "mine")


ATTACK = ("attack", *WHERE, "-s", "./mine", "-t", "./mine|mirror", "--steps", "2", "-a", "flat-sign+mi")


def file(folder: Path, text: str = SOURCE, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_plugins(folder: Path) -> object:
    (run,) = (folder / "runs").iterdir()
    return json.loads((run / "config.json").read_text())["plugins"]


def cell_plugins(folder: Path) -> list[object]:
    cells = (folder / "store").glob("*/*/cell.json")
    return [json.loads(path.read_text())["inputs"]["plugins"] for path in cells]


REGISTERED = TECHNIQUE.format(name="first")
