"""Functions of a Python module, as models; see `UnlistedOptions.allow_code` for when they are run.

    def make():            # without arguments: it is called once and returns the model,
        return network     # an nn.Module: [0, 1] pixels (N, C, H, W) → logits (N, K),
        return predict     # or a function of images, for a target

    def predict(images):   # with one argument: it is that function itself. Tensor, float32 (N, C, H, W) in
        return scores      # [0, 1], on the CPU → scores (N, K), or a class of each image, integers (N,)

The signature tells them apart; what has a default or is `*args` is no argument here. The working folder is
among the places that modules are imported from. What user code raises becomes one sentence, and what it
prints while it is imported, called or asked goes to stderr.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import operator
import os
import re
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from transferzoo.base.atomic import sha256
from transferzoo.base.errors import ModelError, TransferZooError, UnknownNameError, UsageError, reason
from transferzoo.base.frozen_model import fingerprint
from transferzoo.zoo.model_source import LoadableSource, model_source
from transferzoo.zoo.schema import ROLES, ModelSpec
from transferzoo.zoo.source_facts import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from torch import Tensor, nn

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec

_NAME = re.compile(r"[\w.]+:[\w.]+")
NETWORK = "takes no arguments and returns a network (torch.nn.Module)"
"""What a function does that stands for a surrogate."""


@model_source("python")
@dataclass(frozen=True)
class PythonFunction(LoadableSource):
    """What a function of a module returns, or the function.

    Attributes:
        name: "package.module:function".
    """

    name: str

    pattern: ClassVar[str] = "MODULE:FUNCTION"
    written: ClassVar[str] = f"{pattern} with --allow-code"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("a function that returns an nn.Module", "own.models:make --allow-code"),
        Example("one that returns a function of images", "own.models:answer --allow-code", surrogate="no"),
        Example("a function of images → scores", "own.models:predict --allow-code", surrogate="no"),
        Example("one of images → labels", "own.models:classify --allow-code", surrogate="no"),
    )
    runs_code: ClassVar[bool] = True
    with_gradients: ClassVar[str] = f"name a function that {NETWORK}"

    @classmethod
    def parse(cls, place: str) -> Self:
        if not _NAME.fullmatch(place):
            raise ValueError(f"python:{cls.pattern}")
        return cls(place)

    @classmethod
    def recognises(cls, written: str, options: UnlistedOptions) -> bool:
        """Return whether the module is in the working folder, in a package, or found where code is allowed.

        So `torchvision:resnet18` is not taken for code because a module of that name is installed.
        """
        if not _NAME.fullmatch(written):
            return False
        module = written.partition(":")[0]
        top, dot, _ = module.partition(".")
        here = Path(f"{top}.py").is_file() or Path(top).is_dir()
        return here or bool(dot) or (options.allow_code and _is_installed(top))

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        try:
            source = cls.parse(written)
        except ValueError:
            raise UsageError(f"'{written}' is no function", expected=cls.pattern) from None
        module, _, name = written.partition(":")
        if module.endswith(".py") and Path(module).is_file():
            meant = f"{module.removesuffix('.py')}:{name}"
            raise UsageError(
                f"'{module}' is a file", expected=cls.pattern, got=written, hint=f"did you mean {meant}?"
            )
        return ModelSpec(name=name, dataset=dataset.name, roles=ROLES, source=source)

    @property
    def place(self) -> str:
        return self.name

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.predictor import tried, tried_once

        found = _classifier(self.name, dataset)
        if self.gives_gradients():
            return tried(found, self.name, dataset)
        return tried_once(found, self.identity()[1], self.name, dataset)

    def identity(self) -> tuple[str, str]:
        return facts(self.name)[:2]

    def gives_gradients(self) -> bool:
        return facts(self.name)[2]

    def takes_queries(self) -> bool:
        return not self.gives_gradients()


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # `__main__`, for one
        return False


def _classifier(name: str, dataset: DatasetSpec) -> Classifier:
    """Return what a function returns as a classifier of a data set's images: evaluation mode, on the CPU.

    Args:
        name: "package.module:function".
        dataset: whose images it reads and whose classes it has.

    Raises:
        UnknownNameError: the module has no such function.
        ModelError: the user's code raises an exception, or returns something else.
    """
    from torch import nn

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.predictor import Predictor

    made = _made(name)
    if not isinstance(made, nn.Module):
        made = Predictor(_watched(name, made), len(dataset.classes), name)
    reading = Classifier(made, channels=dataset.channels)
    with watching(f"what '{name}' returned cannot be used on the CPU", name):
        return _evaluating(reading.cpu())


def _evaluating(model: Classifier) -> Classifier:
    """Put a model into evaluation mode.

    What `torch.export` returns has one mode for good: a `train` of its own, which refuses, stands on the
    object, and what the mode is said to be changes nothing.
    """
    if not any("train" in vars(part) for part in model.modules()):
        return model.eval()
    for part in model.modules():
        part.training = False
    return model


@cache
def facts(name: str) -> tuple[str, str, bool]:
    """Return what tells a function's model from others, and whether it gives gradients.

    The function is called once a process for it.

    Args:
        name: "package.module:function".

    Returns:
        The SHA-256 of the weights and buffers of an `nn.Module`, or the next one where there are none; a
        fingerprint of the name and the source file; whether it is an `nn.Module`.

    Raises:
        UnknownNameError: see `_classifier`.
        ModelError: likewise; or the module has no source file.
    """
    from torch import nn

    from transferzoo.models.weight_digests import state_digest

    file = getattr(_module(name), "__file__", None)
    if file is None:
        raise ModelError(f"'{name}' has no source file", expected="a function of a module in a file")
    code, made = sha256(Path(file)), _made(name)
    with watching(f"the weights of '{name}' cannot be read", name):
        known = state_digest(made) if isinstance(made, nn.Module) and made.state_dict() else None
    itself = fingerprint({"function": name, "code": code})
    return known or itself, itself, isinstance(made, nn.Module)


def _made(name: str) -> nn.Module | Callable[[Tensor], object]:
    """Return the model that a function stands for: what it returns, or itself.

    Raises:
        UnknownNameError: the module has no such function.
        ModelError: it takes other arguments, raises an exception, or returns something else.
    """
    module, path = _module(name), name.partition(":")[2]
    try:
        function = operator.attrgetter(path)(module)
    except AttributeError:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UnknownNameError(f"function of {module.__name__}", path, known) from None
    if _reads_images(function, name):
        return function  # type: ignore[no-any-return]
    with watching(f"'{name}' fails", name, besides=f"; what stands for a surrogate {NETWORK}"):
        made = function()
    if isinstance(made, type) or not callable(made):
        raise ModelError(
            f"'{name}' returns no model",
            expected="an nn.Module or a function of images",
            got=made.__name__ if isinstance(made, type) else type(made).__name__,
        )
    return made  # type: ignore[no-any-return]


def _reads_images(function: object, name: str) -> bool:
    """Return whether a function takes images, and not nothing.

    Raises:
        ModelError: it takes more, or what shall be called is no function.
    """
    if not callable(function):
        raise ModelError(
            f"'{name}' is no function", expected="one that returns a model", got=type(function).__name__
        )
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some of C's have none
        return False
    needed = [
        p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if not needed:
        return False
    if len(needed) > 1 or needed[0].kind is inspect.Parameter.KEYWORD_ONLY or isinstance(function, type):
        raise ModelError(
            f"'{name}' takes other arguments",
            expected="none, and it returns a model, or one, the images",
            got=", ".join(parameter.name for parameter in needed),
            hint="write a function around it",
        )
    return True


def _module(name: str) -> ModuleType:
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109
        sys.path.insert(0, here)
    module = name.partition(":")[0]
    with watching(f"cannot import {module}", name):
        return importlib.import_module(module)


def _watched(name: str, predict: Callable[[Tensor], object]) -> Callable[[Tensor], object]:
    def answer(images: Tensor) -> object:
        with watching(f"'{name}' fails on images of shape {tuple(images.shape)}", name, called=False):
            return predict(images)

    return answer


@contextmanager
def watching(what: str, name: str, *, called: bool = True, besides: str = "") -> Iterator[None]:
    """Run code of the user's: its exceptions become a sentence, and what it prints goes to stderr.

    Args:
        what: the sentence, which the exception follows.
        name: "package.module:function".
        called: whether a call of it without arguments shows what is wrong.
        besides: what the hint says then too.

    Raises:
        ModelError: the block raised an exception or left the program.
    """
    module, _, function = name.partition(":")
    try:
        with redirect_stdout(sys.stderr):
            yield
    except TransferZooError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"{what}: {reason(error)}",
            hint=f"`python -c 'import {module} as m; m.{function}()'` shows where{besides}"
            if called
            else "call it on torch.rand of that shape to see where",
        ) from error
