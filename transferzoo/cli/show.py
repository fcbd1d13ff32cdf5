"""`transferzoo show NAME`: everything known about anything that `list` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.base.train_config import unused_settings
from transferzoo.cli.completion import complete_names, names_of_all
from transferzoo.cli.flags import AUTO
from transferzoo.cli.options import AllowCode, Json, Plugins, ZooFile
from transferzoo.cli.output import log, show_json, show_line
from transferzoo.cli.show_parts import registered
from transferzoo.cli.show_tables import tables, texts
from transferzoo.cli.tables import print_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

WORDS = {
    AUTO: "as a surrogate: those of the zoo that know the data's classes and are on this machine; where "
    "there is none, a few that are trained once, on images that are not attacked",
    "all": "as a surrogate or target: every model of the data set with that role, but those that `list` "
    "shows under a heading of their own",
}
"""What may stand for several models besides globs."""


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="Any name that `list` prints, a model of your own, or a pack.", autocompletion=complete_names
        ),
    ],
    json: Json = False,
    zoo: ZooFile = None,
    allow_code: AllowCode = False,
    plugin: Plugins = None,
) -> None:
    """Show everything known about a name."""
    from transferzoo.zoo.reader import load_zoo

    records = load_zoo(zoo)
    found = list(_find(name, records, allow_code)) or [
        _model(_unlisted(name, records, allow_code), allow_code)
    ]
    if json:
        show_json(found)
        return
    for entry in found:
        print_tables(*tables(entry))
        for text in texts(entry):
            show_line(f"{text}\n")


def _unlisted(name: str, zoo: Zoo, allow_code: bool) -> ModelSpec:
    """Return the model that something other than a name of the zoo stands for.

    Raises:
        UsageError: nothing of that name, or it is not there.
    """
    from transferzoo.models.resolve import unknown, unlisted
    from transferzoo.models.unlisted_options import UnlistedOptions

    model = unlisted(zoo, name, options=UnlistedOptions(allow_code=allow_code))
    if model is None:
        raise unknown("name", name, zoo, names_of_all(zoo))
    return model


def _find(name: str, zoo: Zoo, allow_code: bool) -> Iterator[dict[str, Any]]:
    from transferzoo.attacks.configure import spelled
    from transferzoo.evaluation.pack_manifest import find_pack, names_pack
    from transferzoo.models.resolve import note_path
    from transferzoo.studies.schema import built_in, find_study

    if names_pack(name):
        from transferzoo.evaluation.packs import read_pack

        yield read_pack(find_pack(name)).facts
    for model in zoo.models.values():
        if name in (model.name, model.full_name):
            note_path(name, model, log)
            yield _model(model, allow_code)
    if name in WORDS:
        yield {"kind": "word for models", "name": name, "stands for": WORDS[name]}
    if name in zoo.datasets:
        yield _dataset(zoo.datasets[name])
    attack = spelled(name, zoo)
    if attack in zoo.aliases:
        yield {"kind": "another name", "name": attack, "stands for": zoo.aliases[attack]}
        attack = zoo.aliases[attack]
    if attack in zoo.presets:
        yield {
            "kind": "attack preset",
            "name": attack,
            "spec": zoo.presets[attack].spec,
            "about": zoo.presets[attack].about,
            **zoo.presets[attack].said,
        }
    if attack in zoo.suites:
        yield {"kind": "suite of attacks", "name": attack, "attacks": list(zoo.suites[attack])}
    if name in zoo.protocols:
        said = zoo.protocols[name].model_dump(mode="json", exclude_defaults=True)
        command = f"transferzoo attack --protocol {name}"
        yield {"kind": "protocol", "name": name, **said, "command": command}
    if name in zoo.recipes:
        recipe = zoo.recipes[name]
        options = recipe.model_dump(mode="json", exclude=unused_settings(recipe.schedule))
        yield {"kind": "recipe", "name": name, **options, "command": f"transferzoo train --recipe {name}"}
    if name in built_in():
        study = find_study(name)
        yield {
            "kind": "study",
            "name": name,
            "question": study.about,
            "dataset": study.dataset,
            "seeds": study.seeds,
            "surrogates": list(study.surrogates),
            "attacks": len(study.attacks),
            "claims": [claim.say for claim in study.claims],
            "definition": built_in()[name].read_text(encoding="utf-8"),
        }
    yield from registered(name, attack)


def _model(model: ModelSpec, allow_code: bool) -> dict[str, Any]:
    from transferzoo.cli.models import claimed, measured, train_command
    from transferzoo.sync.inventory import state_of

    state = state_of(model)
    return {
        "kind": "model",
        **model.model_dump(mode="json"),
        "commercial use": _commerce(model),
        "accuracy": measured(model),
        "claimed": claimed(model),
        "state": state,
        "command": train_command(model) if state == "train" else None,
        **_provenance(model),
        **(_run(model) if allow_code and model.source.runs_code else {}),
    }


def _run(model: ModelSpec) -> dict[str, Any]:
    """Return what only the code of a model tells: a digest of its weights, and what it may be used for."""
    from transferzoo.models.download import loadable
    from transferzoo.models.unlisted_options import running

    log(running(model))
    source = loadable(model)
    return {"sha256": source.identity()[0], "gives gradients": source.gives_gradients()}


def _provenance(model: ModelSpec) -> dict[str, Any]:
    """Return what the files of a model log, as far as they are on this machine."""
    from transferzoo.hub import commit_of
    from transferzoo.models import checkpoint
    from transferzoo.models.transformers_folder import is_transformers
    from transferzoo.sync.inventory import files_of

    required = files_of(model)
    folder = required.cached_folder() if required else model.source.folder
    known: dict[str, Any] = {"folder": folder and str(folder), "commit": None, "bytes": None}
    if folder is None or not folder.is_dir():
        return {**known, "files": [], "config": None}
    if required:
        paths = required.cached_files(folder)
        known["commit"] = commit_of(paths[0])
    elif model.weights:
        paths = [folder / model.weights.file]
    else:
        names = (checkpoint.WEIGHTS, checkpoint.CONFIG, checkpoint.RECIPE)
        paths = [*(folder / name for name in names), *checkpoint.samples(folder)]
    files = [_file(path, folder) for path in paths if path.is_file()]
    plain = model.weights is None and (folder / checkpoint.CONFIG).is_file() and not is_transformers(folder)
    config = checkpoint.read_config(folder) if plain else None
    return {**known, "bytes": sum(file["bytes"] for file in files), "files": files, "config": config}


def _file(path: Path, folder: Path) -> dict[str, Any]:
    from transferzoo.base.digests import digest_of
    from transferzoo.hub import cached_digest

    digest = cached_digest(path) or digest_of(path, 64)
    kind = "sha256" if len(digest) == 64 else "git_sha1"
    return {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, kind: digest}


def _dataset(dataset: DatasetSpec) -> dict[str, Any]:
    from transferzoo.sync.inventory import state_of_images

    return {
        "kind": "data set",
        **dataset.model_dump(mode="json"),
        "commercial use": _commerce(dataset),
        "state": {split: state_of_images(dataset, split) for split in dataset.splits},
    }


def _commerce(what: ModelSpec | DatasetSpec) -> str:
    if what.non_commercial:
        return "forbidden by the licence"
    return "unknown" if what.licence == "unknown" else "not forbidden by the licence"
