"""The main job for programs: attacks by spec string, models by name, success rates of any `nn.Module`."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.attacks.configure import resolve
from transferzoo.attacks.engine import Attack
from transferzoo.audits.audit import run_audit
from transferzoo.audits.plan import Talk
from transferzoo.audits.request import LIMIT, AuditRequest
from transferzoo.base.errors import UsageError
from transferzoo.base.processes import check_jobs
from transferzoo.datasets.hf_datasets import names_hf_dataset
from transferzoo.datasets.own import own_images
from transferzoo.datasets.sources import load_split, measured
from transferzoo.models.fitting import COUNT
from transferzoo.models.load import load_classifier
from transferzoo.models.resolve import named_dataset, select_models
from transferzoo.models.unlisted_options import UnlistedOptions
from transferzoo.page.audit_report import write_audit
from transferzoo.training.adapted import adapted_surrogates
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from fractions import Fraction

    from transferzoo.audits.record import AuditRecord
    from transferzoo.datasets import Batch
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.reader import Zoo


def load_model(
    name: str | Path,
    dataset: str | Path | None = None,
    *,
    architecture: str = "",
    allow_code: bool = False,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Classifier:
    """Load a model of the zoo, or one of your own, as a classifier of [0, 1] pixels.

    Args:
        name: "resnet50-lsam", "cifar10/resnet18", "./my-model", "hf-hub:OWNER/NAME", "weights.safetensors",
            "model.onnx", "package.module:function", as on the command line. The zoo's models come first: a
            file or folder of such a name is "./resnet18", and a warning says so.
        dataset: whose classes it has, a data set of the zoo or a place of your own images, as `load_images`
            takes it; where none is given, that of a model named in full or the default one.
        architecture: the network that a weight file fits, "resnet18".
        allow_code: let a function of a Python module, or a saved program, be run.
        mean: what a weight file expects to be subtracted from [0, 1] pixels, a value a channel; by default
            what is usual for its architecture.
        std: what divides them then; likewise.

    Returns:
        [0, 1] pixels (N, C, H, W) → logits (N, K); float32, in evaluation mode, on the CPU.

    Raises:
        UsageError: nothing, or no single model, of that name; or code that is not allowed to run.
        ModelError: it is damaged or does not fit the data set.
    """
    zoo, name = load_zoo(), _written(name)
    place = _place(zoo, dataset)
    zoo, home, root = own_images(
        zoo, named_dataset(zoo, None if place or dataset is None else str(dataset), [name]), place
    )
    zoo = measured(zoo, home, root=root)
    options = UnlistedOptions(architecture, allow_code, tuple(mean), tuple(std))
    found = select_models(zoo, [name], home, "target", options, _warn)
    if len(found) != 1:
        raise UsageError(f"'{name}' is no single model", expected="one name", got=f"{len(found)} models")
    if found[0].defence:
        raise UsageError(
            f"'{name}' has a defence", expected="a model", hint="name it so among the targets of `evaluate`"
        )
    options.check_used(zoo, found)
    return load_classifier(found[0], zoo.dataset(home))


def load_surrogates(
    dataset: str | Path, count: int = COUNT, *, split: str | None = None
) -> tuple[dict[str, Classifier], Batch]:
    """Load surrogates for images of your own, and images that none of them was trained on.

    They are what `transferzoo attack --surrogate auto` takes: surrogates of the zoo for these classes, or a
    few networks that are trained once and kept in the cache.

    Args:
        dataset: a data set of the zoo or a place of your own images, as for `load_images`.
        count: how many surrogates, at most.
        split: images that will be attacked; None for those that are free.

    Returns:
        Name → [0, 1] pixels (N, C, H, W) → logits (N, K); and the images to attack.

    Raises:
        UsageError: the images that will be attacked are those a training would see.
        DataError: there are no images, or too few to train on.
    """
    zoo = load_zoo()
    place = _place(zoo, dataset)
    zoo, name, root = own_images(zoo, None if place else str(dataset), place, warn=_warn)
    zoo = measured(zoo, name, split, root)
    found = adapted_surrogates(zoo, name, count, split=split)
    spec = zoo.dataset(name)
    loaded = {model.name: load_classifier(model, spec) for model in found.models}
    return loaded, load_split(spec, found.split, root=root)


def _warn(note: str) -> None:
    warnings.warn(note, stacklevel=4)


def load_images(
    dataset: str | Path | None = None, split: str | None = None, root: str | Path | None = None
) -> Batch:
    """Load images: uint8 (N, C, H, W), with labels and ids.

    Args:
        dataset: a data set of the zoo, or a place of your own, as `--data` takes it, "photos/" or
            "hf-datasets:OWNER/NAME"; the default one where none is given.
        split: which part; the one that is attacked where none is given.
        root: a place of your own images of that data set. Where none is given it is read as `--data` is
            without `--dataset`.

    Raises:
        UsageError: an unknown name.
        DataError: the images are not there or damaged.
    """
    zoo = load_zoo()
    own = _place(zoo, dataset)
    place = own or (None if root is None else Path(root))
    said = None if own or dataset is None else str(dataset)
    zoo, name, place = own_images(zoo, said, place, warn=_warn)
    spec = measured(zoo, name, split, place).dataset(name)
    return load_split(spec, split or spec.attack.split, root=place)


def _place(zoo: Zoo, dataset: str | Path | None) -> Path | None:
    """Return the path that a data set is given by, None for a name of the zoo and for none."""
    if dataset is None or dataset in zoo.datasets:
        return None
    path = Path(dataset).expanduser()
    return path if isinstance(dataset, Path) or path.exists() or names_hf_dataset(path) else None


def read_attack(
    spec: str,
    *,
    norm: str | None = None,
    epsilon: str | float | Fraction | None = None,
    step: str | float | Fraction | None = None,
    steps: int | None = None,
    seed: int = 0,
    dataset: str | None = None,
    size: int | None = None,
) -> Attack:
    """Read an attack as the command line does.

    Args:
        spec: presets and techniques, "mi+di:p=0.7".
        norm: "linf" or "l2"; it and the next three are the preset's or the data set's where none is given.
        epsilon: budget in [0, 1] pixels (L∞) or length (L2), "8/255" or 8 / 255.
        step: step size, "eps/10" or a number.
        steps: number of steps.
        seed: of its random draws.
        dataset: whose budget it has; the default one where none is given.
        size: of the images, in pixels a side, where it is not the data set's: below 64 some techniques have
            other defaults.

    Raises:
        UsageError: it cannot be read, or something is out of range.
    """
    zoo = load_zoo()
    budget = {"norm": norm, "epsilon": epsilon, "step": step, "steps": steps}
    given = {
        key: value if key == "steps" else str(value) for key, value in budget.items() if value is not None
    }
    return Attack.of(resolve(zoo, dataset or zoo.default_dataset, spec, given, size), seed)


def audit(
    model: str | Path,
    *,
    data: str | Path | None = None,
    dataset: str | None = None,
    split: str | None = None,
    images: int | None = None,
    seed: int | None = None,
    max_rate: float | None = None,
    baseline: str | Path | None = None,
    time_limit: float | None = None,
    attackers: str | None = None,
    queries: int | None = None,
    surrogates: Sequence[str] = (),
    attacks: Sequence[str] = (),
    pack: str | Path | None = None,
    epsilon: str | float | Fraction | None = None,
    max_gradients: int | None = None,
    architecture: str = "",
    allow_code: bool = False,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    classes: str | Path | None = None,
    noise: bool = False,
    allow_inaccurate: bool = False,
    runs: str | Path = "runs",
    folder: str | Path | None = None,
    jobs: int | None = 1,
    notify: Callable[[str], None] = lambda sentence: None,
) -> AuditRecord:
    """Judge whether images made on other models fool a model too often, as `transferzoo audit` does.

    It is the command's own code: the same arguments give the same record, but for its `command` and `times`,
    and what is finished in `runs` is not done again.

    Args:
        model: as for `load_model`; it need not give gradients.
        data: a place of your own images, "val/", as `--data` takes it.
        dataset: a data set of the zoo; whose images `data` are, where both are given.
        split: which images.
        images: how many are drawn; 300, or all of a pack.
        seed: of that draw, and of random techniques; 0.
        max_rate: the highest rate that passes, in [0, 1]; 0.2, or none where there is a baseline.
        baseline: `audit.json` of the last release.
        time_limit: seconds; fewer images are drawn where more would take longer by the forecast.
        attackers: "public", "adapted" or "replica": with models of the zoo, or with some that are trained on
            images that are not audited, on their labels or on what the model answers.
        queries: answers, at most, that replicas are trained on.
        surrogates: models that an attacker can have, in the place of these.
        attacks: spec strings; "mi", "mi+di" and "mi+di+ti" where none is given.
        pack: adversarial images that exist, by name or path, "NAME@SHA256" to pin it: forward passes alone.
        epsilon: how far images may be changed, in [0, 1] pixels, "8/255"; the data set's.
        max_gradients: evaluations an image and attacker; 50.
        architecture: see `load_model`, as for the next three.
        allow_code: likewise.
        mean: likewise.
        std: likewise.
        classes: CSV (data,model) with the number of each class of the data in models that name none.
        noise: show random noise to a model that says labels alone too; it takes queries.
        allow_inaccurate: take models too whose clean accuracy is near chance.
        runs: where run folders are kept.
        folder: where page, JSON, JUnit's XML, summary and script are written; None for no files.
        jobs: processes, in one thread each; None for one a processor.
        notify: called with a sentence on what is decided, what it costs, and what is trained.

    Returns:
        The record: `verdict` ("pass", "fail" or "cannot tell"; its `exit_code` is the command's), `held_out`
        (the best single attacker), `attackers`, `controls`, and outcomes image by image.

    Raises:
        UsageError: a name is unknown, an argument is wrong or contradicts another, or the baseline has
            another budget, other surrogates or other attacks.
        DataError: the images are not there or too few, the pack is damaged, or the baseline does not fit.
        ModelError: a model is damaged, does not classify, or every attacker has the model's own weights.
        TransferZooError: the time limit is too short, or a folder cannot be written.

    Example:
        >>> record = transferzoo.audit("vgg", surrogates=["densenet"], images=100, max_rate=0.3)
        >>> record.verdict, record.held_out.rate, record.controls.noise.rate  # doctest: +SKIP
    """
    check_jobs(jobs)
    request = AuditRequest(
        model=_written(model),
        dataset=dataset,
        data=None if data is None else Path(data),
        split=split,
        images=images,
        seed=seed,
        surrogates=tuple(surrogates),
        attacks=tuple(attacks),
        attackers=attackers,
        queries=queries,
        pack=None if pack is None else _written(pack),
        epsilon=None if epsilon is None else str(epsilon),
        max_gradients=max_gradients,
        max_rate=LIMIT if max_rate is None and baseline is None else max_rate,
        baseline=None if baseline is None else Path(baseline),
        time_limit=time_limit,
        options=UnlistedOptions(architecture, allow_code, tuple(mean), tuple(std)),
        classes=None if classes is None else Path(classes),
        noise=noise,
        allow_inaccurate=allow_inaccurate,
        runs=Path(runs),
    )
    place = None if folder is None else Path(folder)
    command = partial(request.command, jobs=jobs)
    record, _ = run_audit(request, Talk(notify), jobs, place, None, write_audit, command)
    return record


def _written(name: str | Path) -> str:
    """Return a name as the command line has it; a path is never one of the zoo."""
    if not isinstance(name, Path):
        return name
    path = name.expanduser()
    return str(path) if path.is_absolute() else f"./{path}"
