"""The one place that reads names of models: from what a user writes to `ModelSpec`s, each with its source.

A name is looked up in the zoo first, then taken for a form of `SOURCES`: a path that exists, or `form:place`.
A path that begins with "./", "../", "/" or "~" is never a name of the zoo. Nothing here reads a model or runs
code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.base.errors import UnknownNameError, UsageError, near_names
from transferzoo.defences import show_defence
from transferzoo.models.unlisted_options import NO_OPTIONS, UnlistedOptions
from transferzoo.zoo.model_source import SOURCES, forms, written_forms
from transferzoo.zoo.schema import NAMED_ON_HUB, ModelSpec
from transferzoo.zoo.selection import distinct, find, is_explicit, is_listed, listed, name_apart, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transferzoo.zoo.model_source import ModelSource
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import Role

    Notify = Callable[[str], None]

EXAMPLES = "`transferzoo list sources` has examples"
_OWNER_AND_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def silent(note: str) -> None:
    """Take no note."""


def select_models(
    zoo: Zoo,
    names: Iterable[str],
    dataset: str,
    role: Role,
    options: UnlistedOptions = NO_OPTIONS,
    notify: Notify = silent,
) -> tuple[ModelSpec, ...]:
    """Return the models of a data set that names stand for, in order and without repeats.

    Args:
        zoo: where names are looked up.
        names: "all" (every model with the role that is not `extra`), model names, globs ("resnet50-*"),
            full names ("cifar10/resnet18"), or what no zoo file lists: paths and `form:place`, see `SOURCES`;
            commas separate too. Behind targets "|" and a defence may follow, for all of them
            ("vgg,resnet18|jpeg:quality=75").
        dataset: the data set the names are looked up in.
        role: "surrogate" or "target"; a named model may be used in either role.
        options: what the user states about unlisted models.
        notify: called with a sentence where a name stands for a model of the zoo and a path exists too.

    Raises:
        UnknownNameError: nothing of that name.
        UsageError: a model of another data set, two models of one name, a defended surrogate, an unlisted
            model that is not there, or code that is not allowed to run.
        ModelError: nobody has published the model.
    """
    found: list[ModelSpec] = []
    for name, defence in parts(names):
        if defence and role != "target":
            raise UsageError(f"a {role} has no defence", expected=f"'{name}'", got=f"'{name}|{defence}'")
        matching = _matching(zoo, name, dataset, role, options, notify)
        for model in matching:
            options.check(model)
        matching = [_asked_by(model, options) for model in matching]
        found += [defended(model, defence) for model in matching] if defence else matching
    (apart,) = name_apart(found, known=zoo.models)
    return distinct(apart)


def resolve_model(
    zoo: Zoo, name: str, dataset: str = "", options: UnlistedOptions = NO_OPTIONS, notify: Notify = silent
) -> ModelSpec:
    """Return the one model that a name stands for, of whatever data set; nothing of it is loaded.

    Args:
        zoo: where the name is looked up.
        name: a model's name, short or in full, a path or `form:place`; see `select_models`.
        dataset: the data set whose model is meant where several share a name, and which an unlisted model is
            of unless it says otherwise; the default one where none is given.
        options: what the user states about an unlisted model.
        notify: as for `select_models`.

    Raises:
        UnknownNameError: nothing of that name.
        UsageError: several models of that name, or an unlisted model that is not there.
    """
    if not is_explicit(name) and (found := find(zoo, name, dataset)):
        note_path(name, found, notify)
        return found
    if model := unlisted(zoo, name, dataset, options):
        return model
    raise unknown("model", name, zoo, [m.name for m in zoo.models.values()])


def named_dataset(zoo: Zoo, given: str | None, names: Iterable[str]) -> str | None:
    """Return the data set a command is about: the one given, or that of models named in full; None without.

    Raises:
        UnknownNameError: no such data set.
    """
    named = {zoo.models[name].dataset for name, _ in parts(names) if name in zoo.models}
    name = given or (named.pop() if len(named) == 1 else None)
    return name and zoo.dataset(name).name


def unlisted(
    zoo: Zoo, name: str, dataset: str = "", options: UnlistedOptions = NO_OPTIONS
) -> ModelSpec | None:
    """Return the model that something other than a name of the zoo stands for; None where it is none.

    Args:
        zoo: its models keep their names: an unlisted model of the same name gets another.
        name: what the user wrote.
        dataset: as for `resolve_model`.
        options: what the user states about it.

    Raises:
        UsageError: it is not there, or cannot be used.
    """
    found = _form(name, options)
    if found is None:
        return None
    form, place = found
    if form.is_path and not Path(place).expanduser().exists():
        raise UsageError(f"there is no '{place}'", expected=form.written, hint="check its path")
    model = form.unlisted(place, zoo.dataset(dataset or zoo.default_dataset), options)
    ((named,),) = name_apart([model], known=zoo.models)
    return named


def _form(name: str, options: UnlistedOptions) -> tuple[type[ModelSource], str] | None:
    """Return the form of an unlisted model, and the name without `form:`.

    Raises:
        UsageError: it is of no form, and nothing else either.
    """
    if not name.strip():
        return None
    check_tensorflow(name)
    explicit = is_explicit(name)
    prefix, colon, place = name.partition(":")
    if colon and prefix in SOURCES and not explicit:
        return SOURCES[prefix], place
    if form := next((form for form in forms() if form.recognises(name, options)), None):
        return form, name
    if Path(name).expanduser().exists():
        raise UsageError(f"'{name}' is no model", expected=written_forms(paths=True), hint=EXAMPLES)
    if explicit:
        raise UsageError(f"there is no '{name}'", expected=written_forms(paths=True), hint="check its path")
    if colon:
        near = near_names(prefix, SOURCES, likeness=0.6)
        raise UsageError(
            f"'{prefix}:' in '{name}' is neither a form of a model's name nor a module here",
            expected=written_forms(),
            hint=f"did you mean {near[0]}:{place}?" if near else EXAMPLES,
        )
    return None


TENSORFLOW = {
    ".h5": "--keras",
    ".hdf5": "--keras",
    ".tflite": "--tflite",
    "": "--saved-model",
}
"""Files of TensorFlow by what their names end with, a SavedModel's folder by nothing → tf2onnx's option."""


def check_tensorflow(name: str) -> None:
    """Refuse a model of TensorFlow, with the command that makes another of it.

    Raises:
        UsageError: it is one.
    """
    path = Path(name).expanduser()
    saved = (path / "saved_model.pb").is_file()
    option = TENSORFLOW[""] if saved else TENSORFLOW.get(path.suffix.lower() or "no suffix")
    if option and path.exists():
        raise UsageError(
            f"'{name}' is a model of TensorFlow",
            expected=f"one of {written_forms(paths=True)}",
            hint=f"convert it: `pip install tf2onnx`, `python -m tf2onnx.convert {option} {name} "
            "--output model.onnx`",
        )


def _matching(
    zoo: Zoo, name: str, dataset: str, role: Role, options: UnlistedOptions, notify: Notify
) -> list[ModelSpec]:
    if not is_explicit(name) and is_listed(zoo, name, dataset):
        found = listed(zoo, name, dataset, role)
        if name != "all":
            note_path(name, found[0], notify)
        return found
    model = unlisted(zoo, name, dataset, options)
    if model is None:
        found = listed(zoo, name, dataset, role)
        if not found:
            known = [m.name for m in zoo.models.values() if m.dataset == dataset and m.is_published]
            raise unknown(role, name, zoo, known)
        return found
    if model.dataset not in zoo.datasets:  # trained on images of somebody's own: its classes say what it fits
        model = model.model_copy(update={"dataset": dataset})
    if model.dataset != dataset:
        raise UsageError(
            f"{role} '{name}' belongs to another data set",
            expected=f"a model of '{dataset}'",
            got=f"one of '{model.dataset}'",
            hint=f"choose it with --dataset {model.dataset}",
        )
    return [model]


def _asked_by(model: ModelSpec, options: UnlistedOptions) -> ModelSpec:
    source = model.source.asked_by(options)
    return model if source is model.source else model.model_copy(update={"source": source})


def defended(model: ModelSpec, defence: str) -> ModelSpec:
    """Return a target behind a defence.

    Raises:
        UsageError: it is behind one already, or the defence cannot be read.
    """
    if model.defence:
        raise UsageError(f"'{model.name}' has a defence already", expected="one", got=f"'{defence}'")
    spec = show_defence(defence)
    return model.model_copy(update={"name": f"{model.name}|{spec}", "defence": spec})


def note_path(name: str, model: ModelSpec, notify: Notify) -> None:
    """Tell of a path that a name of the zoo could have meant too."""
    if Path(name).exists():
        notify(f"Note: '{name}' is {model.full_name} of the zoo; write ./{name} for what lies here.")


def unknown(kind: str, name: str, zoo: Zoo, known: Iterable[str]) -> UnknownNameError:
    """Return the error of a name that stands for nothing: near names, forms, and what may have been meant.

    Args:
        kind: what it should denote, "surrogate".
        name: what the user wrote.
        zoo: where it was looked up.
        known: the names that exist.
    """
    on_hub = _OWNER_AND_NAME.fullmatch(name) and name.partition("/")[0] not in zoo.datasets
    meant = [f"{NAMED_ON_HUB}{name}"] if on_hub else []
    return UnknownNameError(kind, name, known, others=written_forms(), meant=meant)
