"""What a user states about models that no zoo file lists."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec


@dataclass(frozen=True)
class UnlistedOptions:
    """What a user states about the unlisted models of a command.

    Attributes:
        architecture: spec of the network that the bare weight files fit; empty where none is given.
        allow_code: whether functions of Python modules, and saved programs, may be run.
        mean: what the bare weight files expect to be subtracted from [0, 1] pixels, a value a channel; empty
            where the user does not say.
        std: what divides them then; likewise.
        prompt: of zero-shot models, a sentence with {} for the name of a class; empty for the usual one.
        requests_per_second: at most so many are sent to a served model; None without a limit.
    """

    architecture: str = ""
    allow_code: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    requests_per_second: float | None = None
    prompt: str = ""

    @classmethod
    def read(
        cls,
        architecture: str,
        allow_code: bool,
        mean: str | None,
        std: str | None,
        requests_per_second: float | None = None,
        prompt: str = "",
    ) -> UnlistedOptions:
        """Read what is written on a command line: mean and std as "0.485,0.456,0.406".

        Raises:
            UsageError: mean or std is no list of numbers, or there would be no request.
        """
        if requests_per_second is not None and not 0 < requests_per_second < inf:
            raise UsageError(
                "--requests-per-second is out of range", expected="above 0", got=f"{requests_per_second:g}"
            )
        return cls(
            architecture,
            allow_code,
            _numbers("mean", mean),
            _numbers("std", std),
            requests_per_second,
            prompt,
        )

    def check(self, model: ModelSpec) -> None:
        """Refuse a model that is code, unless code is allowed.

        Raises:
            UsageError: it is.
        """
        if model.source.runs_code and not self.allow_code:
            raise UsageError(
                f"'{model.source.place}' is code, which is not run unasked",
                hint="add --allow-code (allow_code=True in Python), if you trust it",
            )

    def check_used(self, zoo: Zoo, models: Iterable[ModelSpec]) -> None:
        """Refuse an architecture that nothing needs, a pace that nothing keeps, a prompt that nothing reads.

        Args:
            zoo: lists models whose architecture is known.
            models: all that were selected.

        Raises:
            UsageError: no bare weight file, served model or zero-shot model is among them.
        """
        models = [*models]
        if self.requests_per_second is not None and not any(m.source.is_served for m in models):
            raise UsageError(
                "there is no served model that --requests-per-second is about",
                expected="a model oip:http(s)://HOST/v2/models/NAME",
                hint="leave it out",
            )
        self.check_prompt(models)
        if any(m.weights and m.full_name not in zoo.models for m in models):
            return
        if self.mean or self.std:
            raise UsageError(
                "there are no weights that --mean and --std are about",
                expected="a weight file with --architecture among the models",
                hint="leave them out: all other models have their own",
            )
        if self.architecture:
            raise UsageError(
                f"there are no weights for the architecture '{self.architecture}'",
                expected="a weight file among the models, .safetensors or .pt",
                hint="leave the architecture out: all other models have their own",
            )

    def check_prompt(self, models: Iterable[ModelSpec]) -> None:
        """Refuse a prompt that nothing reads; of models on the Hub only those that are here can tell.

        Raises:
            UsageError: no zero-shot model is among them.
        """
        if self.prompt and not any(model.source.takes_prompt for model in models):
            raise UsageError(
                "there is no zero-shot model that --prompt is about",
                expected="a model of open_clip, open_clip:ARCHITECTURE/TAG or a folder",
                hint="leave it out",
            )


NO_OPTIONS = UnlistedOptions()


def running(model: ModelSpec) -> str:
    """Return the sentence that tells that a model's code is run."""
    return f"Running code that --allow-code allows: {model.source.place}"


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    """Return the numbers in a list, "0.485,0.456,0.406".

    Raises:
        UsageError: it is none, or a std is not above zero.
    """
    if text is None:
        return ()
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (float("nan"),)
    if not all(isfinite(value) and (option == "mean" or value > 0) for value in values):
        above = "" if option == "mean" else " above zero"
        raise UsageError(
            f"--{option} cannot be read",
            expected=f"numbers{above}, one a channel, as in 0.485,0.456,0.406",
            got=f"'{text}'",
        )
    return values
