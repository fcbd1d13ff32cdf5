"""Models behind the Open Inference Protocol, as MLServer, Triton and KServe serve them: targets only.

Pixels go out in [0, 1], or in 0, …, 255 where the input is UINT8: normalisation belongs inside. Answers are
kept under `served/` in the cache, by what the server says of the model and by image; a model that is changed
behind the same metadata is asked again once its file there is deleted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Self

from transferzoo.base.cache_folder import cache_folder
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.zoo.model_source import LoadableSource, model_source
from transferzoo.zoo.schema import ModelSpec
from transferzoo.zoo.source_facts import Example, InputForm

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.inference_protocol import Interface, Metadata
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.model_source import State
    from transferzoo.zoo.schema import DatasetSpec

_PLACE = re.compile(
    r"https?://[^\s/?#@]+(/[^\s?#@]+)*?/v2/models/(?P<name>[^\s/?#@]+)(/versions/[^\s/?#@]+)?"
)


@model_source("oip")
@dataclass(frozen=True)
class ServedModel(LoadableSource):
    """A model that a server answers for.

    Attributes:
        url: of the model.
        requests_per_second: at most so many; None without a limit.
    """

    url: str
    requests_per_second: float | None = field(default=None, compare=False)

    pattern: ClassVar[str] = "http(s)://HOST/v2/models/NAME"
    written: ClassVar[str] = f"oip:{pattern}"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("a model that a server answers for", "oip:http://HOST/v2/models/NAME", surrogate="no"),
    )
    state: ClassVar[State] = "web"
    is_served: ClassVar[bool] = True

    @classmethod
    def parse(cls, place: str) -> Self:
        if not _PLACE.fullmatch(place.rstrip("/")):
            raise ValueError(cls.written)
        return cls(place.rstrip("/"))

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        match = _PLACE.fullmatch(written.rstrip("/"))
        if match is None:
            raise UsageError(
                "'oip:' is followed by something else than the address of a model",
                expected=f"{cls.pattern}, without a user, a password or a query",
                hint="a token is read from the variable TRANSFERZOO_OIP_TOKEN",
            )
        return ModelSpec(
            name=match["name"], dataset=dataset.name, roles=("target",), source=cls.parse(written)
        )

    @property
    def place(self) -> str:
        return self.url

    @property
    def group(self) -> str:
        return self.url.partition("://")[2].partition("/")[0]

    def asked_by(self, options: UnlistedOptions) -> Self:
        return replace(self, requests_per_second=options.requests_per_second)

    def reads(self) -> InputForm | None:
        found = _interface(self.url)
        height, width = found.sides
        if found.channels is None or height is None or height != width:
            return None
        return InputForm(found.channels, height, (0.0,) * found.channels, (1.0,) * found.channels)

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.classifier import Classifier
        from transferzoo.models.kept_answers import KeptAnswers
        from transferzoo.models.predictor import Predictor
        from transferzoo.models.served import Asked, Service

        found, classes = _interface(self.url), len(dataset.classes)
        if found.classes not in (None, classes):
            raise ModelError(
                f"'{self.url}' does not classify like the data set",
                expected=f"{classes} scores an image",
                got=str(found.classes),
                hint="say with --classes FILE which of its classes are the data's",
            )
        kept = KeptAnswers(cache_folder("served") / f"{self.identity()[0][:32]}.sqlite")
        asked = Asked(Service(self.url, self.requests_per_second, kept), found)
        model = Predictor(asked, classes, self.url.rpartition("/")[2])
        model.labels_only = found.labels
        channels, (height, width) = found.channels or dataset.channels, found.sides
        return Classifier(
            model,
            size=(height or dataset.size, width or dataset.size),
            channels=channels,
        ).eval()

    def identity(self) -> tuple[str, str]:
        said = _metadata(self.url).model_dump(mode="json")
        return fingerprint({"served": self.url, "metadata": said}), fingerprint("reads [0, 1] pixels")

    def gives_gradients(self) -> bool:
        return False

    def takes_queries(self) -> bool:
        return True

    def class_names(self) -> tuple[str, ...]:
        from transferzoo.datasets.labels import numbered

        return numbered(_interface(self.url).classes or 0)


@cache
def _metadata(url: str) -> Metadata:
    from transferzoo.models.served import Service

    return Service(url).metadata()


def _interface(url: str) -> Interface:
    from transferzoo.models.inference_protocol import interface

    return interface(_metadata(url), url)
