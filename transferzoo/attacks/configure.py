"""From what a user asks of an attack to its configuration: presets, data set defaults, flags, in that order.

A preset's name stands for its techniques anywhere in a spec string, and brings its budget where it has one:
`pgd+mi` is a random start with momentum, `fgsm` is one step of length ε. Aliases are what papers call
attacks, `MI-FGSM`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.composition import Composition, compose
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base import plugins
from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.base.budget import BALLS, PARTS
from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.spec_strings import (
    Term,
    parse_epsilon,
    parse_step,
    parse_terms,
    show_fraction,
    show_step,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import Preset


def expand(spec: str, zoo: Zoo, size: int | None = None) -> tuple[Composition, dict[str, Any]]:
    """Replace preset names by their techniques.

    Args:
        spec: the spec string.
        zoo: what names mean.
        size: of the images, as of `compose`.

    Returns:
        The techniques, and the parts of the budget that the presets set.

    Raises:
        UsageError: the spec cannot be read, a preset is given options, or two presets disagree on the budget.
        UnknownNameError: neither a preset nor a technique.
    """
    techniques: list[str] = []
    budget: dict[str, Any] = {}
    for term in without_aliases(spec, zoo):
        preset = zoo.presets.get(term.name)
        if preset is None:
            if term.name not in TECHNIQUES:
                known = [*zoo.presets, *TECHNIQUES]
                raise UnknownNameError("attack", term.name, known, others=plugins.NAMED, aliases=zoo.aliases)
            techniques.append(_write(term))
            continue
        if term.options:
            raise UsageError(
                f"'{term.name}' in '{spec}' is a preset and takes no options",
                hint=f"write '{preset.spec}' out",
            )
        techniques += _techniques(term.name, preset)
        for key, value in preset.said.items():
            if budget.setdefault(key, value) != value:
                raise UsageError(
                    f"the presets of '{spec}' disagree on the {key}", got=f"{budget[key]} and {value}"
                )
    return compose("+".join(techniques), size), budget


def without_aliases(spec: str, zoo: Zoo) -> Iterator[Term]:
    """Yield the terms of a spec, those of an alias in its place.

    Raises:
        UsageError: the spec cannot be read, or an alias of several techniques is given options.
    """
    for term in parse_terms(spec):
        name = spelled(term.name, zoo)
        if name not in zoo.aliases:
            yield Term(name, term.options)
            continue
        terms = parse_terms(zoo.aliases[name])
        if len(terms) > 1 and term.options:
            raise UsageError(
                f"'{name}' in '{spec}' stands for several techniques and takes no options",
                hint=f"write '{zoo.aliases[name]}' out",
            )
        yield from (Term(one.name, {**one.options, **term.options}) for one in terms)


def spelled(name: str, zoo: Zoo) -> str:
    """Return the name of an attack as the zoo writes it, whatever capitals, hyphens or underscores it has.

    Args:
        name: of a preset, a suite, a technique or an alias, "MIFGSM"; any other is returned as it is.
        zoo: what names mean.
    """
    names = (*zoo.aliases, *TECHNIQUES.built_in, *zoo.suites, *zoo.presets)
    known: dict[str, str] = {_plain(one): one for one in names}
    if _plain(name) not in known:  # only then are plug-ins asked
        known = {_plain(one): one for one in TECHNIQUES}
    return known.get(_plain(name), name)


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "").replace("_", "")


def configure(
    zoo: Zoo,
    dataset: str,
    attacks: Sequence[str],
    surrogates: Sequence[str],
    targets: Sequence[str],
    flags: Mapping[str, Any],
    max_gradients: int | None = None,
    weights: Mapping[str, int] = MappingProxyType({}),
) -> AttackConfig:
    """Return the configuration of an attack run.

    Args:
        zoo: what names mean.
        dataset: name of the data set.
        attacks: spec strings of presets and techniques, or names of suites.
        surrogates: full names.
        targets: full names.
        flags: fields of `AttackConfig` and `AttackSpec` a user set; None where none is given.
        max_gradients: every attack takes as many steps as this many gradient evaluations an image allow;
            None for the steps it has.
        weights: how many collected weights a surrogate has, by full name; one where none is given.

    Raises:
        UsageError: something is out of range or cannot be read, or an attack needs more surrogates.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    named = [one for attack in attacks for one in zoo.suites.get(spelled(attack, zoo), (attack,))]
    specs = [resolve(zoo, dataset, attack, given) for attack in named]
    defaults = zoo.dataset(dataset).attack.model_dump(exclude={*PARTS})
    values = {**defaults, **{key: value for key, value in given.items() if key not in PARTS}}
    config = AttackConfig.of(
        dataset=dataset,
        attacks=tuple(dict.fromkeys(specs)),
        surrogates=tuple(surrogates),
        targets=tuple(targets),
        **values,
    )
    if max_gradients is not None:
        if "steps" in given:
            raise UsageError("--steps and --max-gradients exclude each other", expected="one of the two")
        fitted = tuple(
            _fitted(spec, max_gradients, _together(spec, config, weights)[1], "step" in given)
            for spec in config.attacks
        )
        config = config.model_copy(update={"attacks": fitted})
    check_attacks(config, weights)
    return config


def check_attacks(config: AttackConfig, weights: Mapping[str, int] = MappingProxyType({})) -> None:
    """Check that the attacks of a run go with its surrogates, and its curve with the attacks.

    Args:
        config: of the run.
        weights: how many collected weights a surrogate has, by full name; one where none is given.

    Raises:
        UsageError: an attack needs more surrogates, its techniques do not go with its budget or with each
            other, or a step of the curve is not one of an attack's.
    """
    for spec in config.attacks:
        composition = compose(spec.techniques)
        composition.check(_together(spec, config, weights)[0], alone=False)
        composition.check_use(spec.exact, targeted=bool(config.targeted))
    least = min(spec.steps for spec in config.attacks)
    for step in config.curve:
        if not 1 <= step <= least:
            raise UsageError(
                "a step of the curve is out of range", expected=f"1 to {least}, the attack's", got=str(step)
            )


def _together(spec: AttackSpec, config: AttackConfig, weights: Mapping[str, int]) -> tuple[int, int]:
    """Return how many models are attacked together, by the least and by the most."""
    joins = compose(spec.techniques).joins
    counts = [weights.get(name, 1) if joins else 1 for name in config.surrogates]
    return (sum(counts), sum(counts)) if config.ensemble else (min(counts), max(counts))


def _fitted(spec: AttackSpec, most: int, models: int, keep_step: bool) -> AttackSpec:
    """Return an attack with as many steps as a number of gradient evaluations allows; one step stays one.

    Raises:
        UsageError: not even one step is allowed.
    """
    composition = compose(spec.techniques)
    steps = composition.steps_within(most, models)
    if not steps:
        raise UsageError(
            f"one step of '{spec.techniques or 'bim'}'{f' on {models} models together' * (models > 1)} costs "
            "more than --max-gradients",
            expected=f"at least {composition.cost(1, models)}",
            got=str(most),
        )
    if spec.steps == 1:
        return spec
    fitted = spec.model_copy(update={"steps": steps})
    return fitted if keep_step else _reaching(fitted)


def _reaching(spec: AttackSpec) -> AttackSpec:
    """Return an attack whose steps are long enough to reach the border of the ball: ε over their number."""
    budget = spec.exact
    step = max(budget.step, budget.epsilon / budget.steps)
    return spec.model_copy(update={"step": show_step(step, budget.epsilon)})


def resolve(
    zoo: Zoo, dataset: str, attack: str, given: Mapping[str, Any], size: int | None = None
) -> AttackSpec:
    """Return an attack with its budget: from what is given, else the preset, else the data set.

    Where a number of steps is asked for without their size, a step is at least ε divided by that number, so
    that few steps can still reach the border of the ball.

    Args:
        zoo: what names mean.
        dataset: whose defaults it has.
        attack: a spec string.
        given: parts of the budget, over all others.
        size: of the images, in pixels a side; the data set's where none is given.

    Raises:
        UsageError: it cannot be read, or something is out of range.
    """
    if not attack.strip():
        raise UsageError("an attack is empty", expected="a name; 'bim' for one without techniques")
    images = zoo.dataset(dataset)
    composition, preset = expand(attack, zoo, size or images.size or None)
    defaults = images.attack
    flags = {key: value for key, value in given.items() if key in PARTS}
    values = {**defaults.model_dump(include={*PARTS}), **preset, **flags}
    if values["norm"] not in BALLS:
        raise UnknownNameError("norm", str(values["norm"]), BALLS)
    if values["norm"] != defaults.norm and "epsilon" not in flags | preset:
        raise UsageError(
            f"'{dataset}' has no default epsilon for {values['norm']}",
            expected="--epsilon too",
            hint=f"its default, {defaults.epsilon}, is for {defaults.norm}",
        )
    epsilon = parse_epsilon(str(values["epsilon"]), str(values["norm"]))
    step = parse_step(str(values["step"]), epsilon)
    values |= {"epsilon": show_fraction(epsilon), "step": show_step(step, epsilon)}
    spec = AttackSpec.of(techniques=composition.spec, **values)
    asked = next((part for part in (flags, preset) if part.keys() & {"step", "steps"}), {"step": None})
    return spec if "step" in asked else _reaching(spec)


def _techniques(name: str, preset: Preset) -> list[str]:
    """Return the techniques of a preset, checked here because the zoo file is read before they are known."""
    try:
        compose(preset.spec)
    except UsageError as error:
        raise UsageError(f"the preset '{name}' is wrong: {str(error).removesuffix('.')}") from None
    return [preset.spec] if preset.spec else []


def _write(term: Term) -> str:
    options = ",".join(f"{key}={value}" for key, value in term.options.items())
    return f"{term.name}:{options}" if options else term.name
