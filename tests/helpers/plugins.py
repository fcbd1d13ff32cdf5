"""A plug-in with one thing of each kind, as a file and as a package that pip installs."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
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

        from transferzoo.models.classifier import Classifier, Predictor

        scores = torch.zeros(len(dataset.classes))
        scores[self.answer] = 1
        model = Predictor(lambda images: scores.expand(len(images), -1), len(scores), str(self))
        black, white = [0.0] * dataset.channels, [1.0] * dataset.channels
        return Classifier(model, size=None, channels=dataset.channels, mean=black, std=white).eval()

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


@dataclass(frozen=True)
class Installed:
    """A folder that pip has installed distributions into, on the path of commands.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def run(
        self, *command: object, cwd: Path, path: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line in an interpreter of its own.

        Args:
            command: what follows `transferzoo`.
            cwd: the working folder.
            path: what stands before the distributions on its path.
            check: whether it must succeed.
        """
        variables = environment(os.pathsep.join(filter(None, [path, str(self.folder)])))
        program = [sys.executable, "-m", "transferzoo", *map(str, command)]
        done = subprocess.run(program, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done


def environment(path: str) -> dict[str, str]:
    """Return the variables of a process whose PYTHONPATH has `path` before this package's place."""
    here = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, here])), "OMP_NUM_THREADS": "1"}


def wheel(folder: Path, name: str, files: dict[str, str], points: str, version: str = "1.0") -> Path:
    """Write a wheel by hand, which needs no build backend.

    Args:
        folder: where.
        name: of the distribution.
        files: path within → text.
        points: its entry_points.txt.
        version: of the distribution.
    """
    home = f"{name.replace('-', '_')}-{version}.dist-info"
    content = {
        **files,
        f"{home}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{home}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{home}/entry_points.txt": points,
    }
    record = "".join(f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in content.items())
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in {**content, f"{home}/RECORD": f"{record}{home}/RECORD,,\n"}.items():
            archive.writestr(inner, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def install(wheel: Path, folder: Path) -> Installed:
    """Install a wheel into a folder with pip, from nowhere else."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--upgrade", "--target", str(folder), str(wheel)], check=True, cwd=folder.parent)
    return Installed(folder)


def points(module: str) -> str:
    """Return an entry_points.txt with one plug-in."""
    return f"[transferzoo.plugins]\nmine = {module}\n"
