"""Where a model comes from: the contract of a form, and the registry of the forms there are.

A form is a frozen dataclass in `models/sources/` under one decorator, `@model_source("onnx")`. Its text is
`form:place`, in a zoo file, in JSON, and where a user names a model. Nothing here imports torch, and neither
does a form before it loads a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from pydantic_core import core_schema

from transferzoo.base.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec, WeightFile
    from transferzoo.zoo.source_facts import Example, InputForm, WebFile

    State = Literal["built-in", "local", "hub", "web", "train"]


class ModelSource(ABC):
    """Where a model comes from.

    Attributes:
        form: the first name under which the form is registered.
        pattern: what stands behind `form:`, for a user to read; empty for nothing.
        written: how a user names such a model on the command line; empty where no user does.
        examples: models of this form, which `transferzoo list sources` shows.
        state: where the weights are: in the package, on this machine, on the Hub, elsewhere on the web,
            or nowhere yet.
        is_path: whether what a user writes is a path, which has to exist.
        runs_code: whether loading it runs code of the user's.
        takes_weights: whether a `WeightFile` may say what one of its files holds.
        is_served: whether it is asked over a network, image by image.
        takes_prompt: whether it knows classes by their names alone, put into a sentence, or may prove to.
        as_is: whether a surrogate is attacked as it is, not made faster first.
    """

    form: ClassVar[str]
    pattern: ClassVar[str]
    written: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]] = ()
    state: ClassVar[State] = "local"
    is_path: ClassVar[bool] = False
    runs_code: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = False
    is_served: ClassVar[bool] = False
    takes_prompt: ClassVar[bool] = False
    as_is: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def parse(cls, place: str) -> Self:
        """Read what stands behind `form:`.

        Raises:
            ValueError: it is not of the form's pattern.
        """

    @classmethod
    def recognises(cls, written: str, options: UnlistedOptions) -> bool:
        """Return whether a text without `form:` in front names a model of this form."""
        return False

    @classmethod
    @abstractmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        """Return a model that no zoo file lists.

        Args:
            written: what the user wrote, without `form:`; a path exists.
            dataset: what it classifies, unless it says otherwise itself.
            options: what the user states about it.

        Raises:
            UsageError: it is not of the form's pattern, or cannot be used.
        """

    @property
    @abstractmethod
    def place(self) -> str:
        """What stands behind `form:`."""

    @property
    def folder(self) -> Path | None:
        """The checkpoint folder on this machine; None where there is none."""
        return None

    @property
    def group(self) -> str:
        """What tells it from another model of the same name, as the folder it lies in; empty for nothing."""
        return ""

    def reads(self) -> InputForm | None:
        """Return what images the model reads, where that can be told before it is downloaded and loaded.

        Raises:
            ModelError: its files are damaged.
        """
        return None

    def web_file(self) -> WebFile | None:
        """Return the file of weights that it needs from the web; None for none, or for files of the Hub.

        Raises:
            UsageError: there is no such model.
        """
        return None

    def asked_by(self, options: UnlistedOptions) -> Self:
        """Return it as a user wants it to be asked, where that is anybody's choice."""
        return self

    def beside(self, folder: Path) -> Self:
        """Return it with a relative path, if it has one, starting at a folder."""
        return self

    @abstractmethod
    def download(
        self, weights: WeightFile | None, notify: Callable[[str], None] = lambda sentence: None
    ) -> LoadableSource:
        """Return it on this machine, downloaded or converted where necessary.

        Args:
            weights: describes a weight file that is no checkpoint folder yet.
            notify: called with a sentence when a pickle is loaded.

        Raises:
            ModelError: there are no weights, or they are damaged.
            TransferZooError: they cannot be downloaded.
        """

    def __str__(self) -> str:
        """Return `form:place`, which `read_source` reads."""
        return f"{self.form}:{self.place}".removesuffix(":")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        """Let fields of frozen models be read from, and written as, the text."""
        return core_schema.no_info_plain_validator_function(
            read_source, serialization=core_schema.to_string_ser_schema()
        )


class LoadableSource(ModelSource):
    """A source whose models can be loaded as they are.

    Attributes:
        forks: whether what it loads is PyTorch's own modules alone, without threads or connections, so that
            processes that are forked afterwards may use it and hold its weights together.
        with_gradients: what to do for a model of this form that gives gradients, where one does not; empty
            for nothing.
    """

    forks: ClassVar[bool] = False
    with_gradients: ClassVar[str] = ""

    def download(
        self, weights: WeightFile | None, notify: Callable[[str], None] = lambda sentence: None
    ) -> LoadableSource:
        """Return it as it is: it is on this machine."""
        return self

    @abstractmethod
    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        """Load the model: float32, in evaluation mode, on the CPU.

        Args:
            dataset: whose classes it has.
            weights: file of the weights, one of `collected`; None for the main ones.

        Returns:
            [0, 1] pixels (N, C, H, W) → logits (N, K).

        Raises:
            ModelError: it is damaged, does not fit the data set, or its own code fails.
        """

    @abstractmethod
    def identity(self) -> tuple[str, str]:
        """Return what tells the model from others.

        Returns:
            The SHA-256 of its weights, equal for models of the same weights, and the fingerprint of all else
            that its answers depend on.

        Raises:
            ModelError: it is damaged, or its own code fails.
        """

    def gives_gradients(self) -> bool:
        """Return whether images can be crafted on it.

        Raises:
            ModelError: its own code fails.
        """
        return True

    def takes_queries(self) -> bool:
        """Return whether every image that it classifies is a query worth a count, of a service or slow code.

        Raises:
            ModelError: its own code fails.
        """
        return False

    def class_names(self) -> tuple[str, ...]:
        """Return the names of its classes in the order of its logits, without loading it.

        They are "0", "1", … where only their number is known, and none where that is not known either.

        Raises:
            ModelError: its files are damaged.
        """
        return ()

    def collected(self) -> list[Path]:
        """Return the files of weights that it has besides the main ones, in order."""
        return []

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that only models of this form depend on.

        Raises:
            ModelError: one is not installed.
        """
        return {}


SOURCES: Registry[type[ModelSource]] = Registry(
    "form of a model's source", "transferzoo.models.sources", ModelSource
)
Form = TypeVar("Form", bound=ModelSource)


def model_source(form: str, *others: str) -> Callable[[type[Form]], type[Form]]:
    """Return a decorator that registers a form under its name, which its text begins with, and others."""

    def decorate(source: type[Form]) -> type[Form]:
        source.form = form
        for name in (form, *others):
            SOURCES.register(name)(source)
        return source

    return decorate


def forms() -> Iterator[type[ModelSource]]:
    """Yield every form once, paths first, by the names of their files; plug-ins after what is built in."""
    seen: set[type[ModelSource]] = set()
    for names in (SOURCES.built_in, SOURCES):
        found = dict.fromkeys(form for name in names if (form := SOURCES[name]) not in seen)
        seen |= found.keys()
        yield from sorted(found, key=lambda form: (not form.is_path, form.__module__))


def written_forms(*, paths: bool = False) -> str:
    """Return how models that no zoo file lists are written, all or only those by their path, in one line."""
    return ", ".join(form.written for form in forms() if form.written and form.is_path >= paths)


def read_source(value: object) -> ModelSource:
    """Read `form:place`.

    Raises:
        ValueError: it is no text of a form; the message says what is.
    """
    if isinstance(value, ModelSource):
        return value
    form, _, place = value.partition(":") if isinstance(value, str) else ("", "", "")
    if form not in SOURCES:
        known = (f"{source.form}:{source.pattern}".removesuffix(":") for source in forms())
        raise ValueError(f"one of {', '.join(known)}")
    return SOURCES[form].parse(place)
