"""Model cards: the README.md of a checkpoint on the Hub, written from its config and recipe."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

from transferzoo.base.printable import printable
from transferzoo.base.spec_strings import parse_terms
from transferzoo.base.train_config import unused_settings
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.sync.licences import check_licence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from huggingface_hub import EvalResult

    from transferzoo.results.records import Record

TASK = "image-classification"
TAGS = (TASK, "timm", "transferzoo", "adversarial-transferability")

_ALWAYS = {"epochs", "learning_rate", "schedule", "seed"}
"""Settings of a training that are shown even where they are 0."""
_UNSET: tuple[object, ...] = (None, "", 0, "none", "never", "last", "constant", [], {}, ())
_LABELS = {"dataset": "data set", "start": "starts from", "validation": "validation images"}
PATH = re.compile(r"[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]")
"""How the path of a file begins."""


def model_card(
    repo: str,
    config: Mapping[str, Any],
    recipe: Mapping[str, Any],
    *,
    licence: str,
    dataset_repo: str | None,
    base_model: str | None = None,
    records: Sequence[Record] = (),
) -> str:
    """Return the model card of a checkpoint: front matter that the Hub reads, then text for people.

    Args:
        repo: "OWNER/NAME" of the model on the Hub.
        config: content of config.json.
        recipe: content of recipe.json; empty if there is none.
        licence: of the weights, an identifier of the Hub such as "mit".
        dataset_repo: "OWNER/NAME" of the training images on the Hub, if they are there.
        base_model: "OWNER/NAME" of the model it was fine-tuned from, if any.
        records: of its adversarial images on targets.

    Raises:
        UsageError: no licence, or one that the Hub does not know.
    """
    from huggingface_hub import ModelCardData

    licence = check_licence(licence)
    name = repo.rpartition("/")[2]
    results = [*_accuracy(recipe, dataset_repo), *_success_rates(records, recipe, dataset_repo)]
    data = ModelCardData(
        license=licence,
        library_name="timm",
        pipeline_tag=TASK,
        tags=[*TAGS, *_minimizer(recipe)],
        datasets=[dataset_repo] if dataset_repo else None,
        base_model=base_model,
        model_name=name if results else None,
        eval_results=results or None,
    )
    sections = (
        f"# {name}",
        _description(config, recipe, base_model),
        "## How it was trained",
        _training(recipe),
        "## What was measured",
        *_measurements(recipe, records),
        "## How to load it",
        *_loading(repo, config),
        "## What it is for",
        "It is for the evaluation of robustness: its adversarial images are tried on other classifiers, or "
        "those of others on it. Success rates hold for the attack, the images and the targets they were "
        "measured with. They are not a certificate of robustness.",
    )
    return printable(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def _minimizer(recipe: Mapping[str, Any]) -> list[str]:
    """Return the name of the minimizer, if the recipe has one."""
    spec = recipe.get("config", {}).get("minimizer")
    return [parse_terms(spec)[0].name] if spec else []


def _accuracy(recipe: Mapping[str, Any], dataset_repo: str | None) -> list[EvalResult]:
    """Return the test accuracy as the Hub lists results, if it was measured."""
    from huggingface_hub import EvalResult

    accuracy = recipe.get("accuracy")
    if not accuracy:
        return []
    dataset = str(recipe.get("config", {}).get("dataset") or dataset_repo or "unknown")
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=dataset_repo or dataset,
            dataset_name=dataset,
            metric_type="accuracy",
            metric_name="test accuracy",
            metric_value=float(accuracy["accuracy"]),
        )
    ]


def _success_rates(
    records: Sequence[Record], recipe: Mapping[str, Any], dataset_repo: str | None
) -> list[EvalResult]:
    """Return the success rates likewise; what each was measured with stands in its arguments."""
    from huggingface_hub import EvalResult

    trained_on = recipe.get("config", {}).get("dataset")
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=(record.dataset == trained_on and dataset_repo) or record.dataset,
            dataset_name=record.dataset,
            dataset_split=record.split,
            metric_type="adversarial_success_rate",
            metric_name=f"success rate of its adversarial images against {_format(record.target)}",
            metric_value=record.rate,
            metric_args={
                "target": _format(record.target),
                "attack": record.attack,
                "targeted": record.targeted,
                "n": record.n,
                "low": record.low,
                "high": record.high,
                "white_box": record.white_box,
                "target_sha256": record.target_sha256,
            },
        )
        for record in records
    ]


# ---------------------------------------------------------------- sections


def _description(config: Mapping[str, Any], recipe: Mapping[str, Any], base_model: str | None) -> str:
    dataset = recipe.get("config", {}).get("dataset")
    inputs = config["pretrained_cfg"]
    size = "×".join(str(number) for number in inputs["input_size"])
    return (
        f"An image classifier: a `{config['architecture']}` that tells {config['num_classes']} classes"
        f"{f' of {_format(dataset)}' if dataset else ''} apart"
        f"{f', fine-tuned from [{base_model}](https://huggingface.co/{base_model})' if base_model else ''}. "
        f"It reads {size} values (channels, height, width) in [0, 1], "
        f"from which the mean {_format(inputs['mean'])} is subtracted "
        f"and which are divided by the standard deviation {_format(inputs['std'])}."
    )


def _training(recipe: Mapping[str, Any]) -> str:
    config = recipe.get("config")
    if not config:
        return "The checkpoint does not say."
    rows: list[tuple[str, object]] = []
    unused = unused_settings(config.get("schedule"))
    for key, value in config.items():
        if key not in _ALWAYS and (value in _UNSET or key in unused):
            continue
        rows.append((_LABELS.get(key, key.replace("_", " ")), value))
        if key == "minimizer" and "rho" in (options := parse_terms(value)[0].options):
            rows.append(("rho", options["rho"]))
    data, versions = recipe.get("data", {}), recipe.get("versions", {})
    rows += [
        ("SHA-256 of the weights it starts from", recipe.get("start")),
        ("selected epoch", recipe.get("selected_epoch")),
        ("training images", data.get("n")),
        ("folder of the training images", recipe.get("images")),
        ("SHA-256 of the training data", data.get("sha256")),
        ("SHA-256 of the weights", recipe.get("weights_sha256")),
        ("versions", ", ".join(f"{package} {number}" for package, number in versions.items())),
        ("seconds", recipe.get("seconds")),
    ]
    return _table(("setting", "value"), ((name, _format(value)) for name, value in rows if value is not None))


def _measurements(recipe: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    accuracy = recipe.get("accuracy")
    if accuracy:
        accuracy_line = (
            f"It classifies {100 * accuracy['accuracy']:.2f} % of {accuracy['n']} test images correctly."
        )
    else:
        accuracy_line = "Its accuracy on test images was not measured."
    if not records:
        return [accuracy_line]
    about = (
        "The success rate is the share of adversarial images, made on this model, that a target gets wrong. "
        "Only images that the target classifies correctly without them are counted. The interval is Wilson's."
    )
    rows = (
        (
            f"{_format(record.target)}{' (white box)' if record.white_box else ''}",
            f"{100 * record.rate:.1f}",
            f"{100 * record.low:.1f}–{100 * record.high:.1f}",
            str(record.n),
            f"`{record.attack}`{f' ({record.targeted} target class)' if record.targeted else ''}",
        )
        for record in records
    )
    return [
        accuracy_line,
        about,
        _table(("target", "success rate (%)", "95 % interval", "n", "attack"), rows),
    ]


def _loading(repo: str, config: Mapping[str, Any]) -> list[str]:
    name, imports = config["architecture"], "import timm"
    if plugin := ARCHITECTURES.origin(name):
        imports = f"import timm  # and what registers the architecture: {plugin.name}"
    elif name in ARCHITECTURES:
        imports = "import transferzoo  # timm knows the architecture then\nimport timm"
    return [
        "With timm:",
        f'```python\n{imports}\n\nmodel = timm.create_model("hf-hub:{repo}", pretrained=True).eval()\n```',
        "Attack it, and try the images on every target:",
        f"```sh\ntransferzoo attack --surrogate hf-hub:{repo} --targets all\n```",
    ]


# ---------------------------------------------------------------- text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _format(value: object) -> str:
    """Return a value in plain text; of a path only the last part, since local folders are private."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_format(item)}" for key, item in value.items() if item not in _UNSET)
    if isinstance(value, list | tuple):
        return ", ".join(_format(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and abs(value) < 1000:
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return PureWindowsPath(text).name if PATH.match(text) else text
