"""Find the composition behind the preset `strong`.

`python tests/scripts/search_strong.py --data PATH [--jobs 2]`

Greedy forward selection: of all techniques, each added to the best composition so far, the one stays whose
images fool the two validation targets most often; it ends when none adds. Every candidate has the same
number of gradient evaluations an image. Crafted on the surrogates given, averaged; the images are those held
out of the training of all built-in surrogates, which no table reports. A round looks at every candidate on
few images, and at the best of them on many; the worse half is not tried again. What is measured is printed
line by line.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["OMP_NUM_THREADS"] = "1"  # one thread a process, before torch is imported

import torch

from transferzoo.attacks.configure import configure
from transferzoo.attacks.engine import Attack, craft
from transferzoo.attacks.techniques import Draw
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.errors import UsageError
from transferzoo.datasets.sources import load_split
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.optimize import optimize
from transferzoo.models.predict import predict
from transferzoo.training.feeds import hold_out
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from transferzoo.datasets import Batch
    from transferzoo.models.classifier import Classifier

ZOO = load_zoo()
SPEC = ZOO.dataset("fashion-mnist")
VALIDATORS = ("fashion-mnist/validator-resnet18", "fashion-mnist/validator-vgg")
HELD = 2000
"""Images held out of the training of the built-in surrogates."""
UNIT = 100
CANDIDATES = (
    "mi",
    "ni",
    "di",
    "di:p=1,ratio=1.3",
    "ti:kernel=3",
    "ti:kernel=5",
    "si",
    "si:scales=3",
    "admix",
    "admix:partners=1",
    "ssa",
    "ssa:copies=5",
    "sia",
    "sia:copies=5",
    "sia:copies=5,splits=2",
    "bsr",
    "bsr:copies=5",
    "decowa:noise=0.2,copies=5",
    "maskblock",
    "dem",
    "vt",
    "vt:copies=5",
    "emi",
    "pi-look",
    "gra",
    "gra:copies=5",
    "pgn:copies=5",
    "rap",
    "mef:copies=5",
    "mumodig",
    "sgm",
    "sgm:gamma=0.5",
    "bpa",
    "ghost",
    "ilpd",
    "ilpd:gamma=0.3",
    "mba+long",
    "mba:sigma=0.05+long",
    "logit",
    "margin",
    "lmargin",
    "fia",
    "naa",
    "ila",
    "gi",
    "rs",
    "cos",
    "geo",
)


@cache
def victims() -> list[Classifier]:
    """Return the validation targets."""
    return [load_checkpoint(ZOO.models[name].folder, SPEC) for name in VALIDATORS]


@cache
def validation(data: Path | None) -> tuple[Batch, Batch]:
    """Return the validation images, and those of them that both targets classify correctly."""
    _, held = hold_out(load_split(SPEC, "train", root=data), HELD)
    assert held is not None
    right = torch.stack([predict(model, held.images) == held.labels for model in victims()]).all(0)
    return held, held.select(right)


def rate(spec: str, surrogates: list[str], images: int, gradients: int, data: Path | None) -> float | None:
    """Return the mean success rate on the validation targets; None where techniques exclude each other."""
    torch.set_num_threads(1)
    try:
        config = configure(ZOO, SPEC.name, [spec], ["s"], ["t"], {}, gradients)
    except UsageError:
        return None
    attack = Attack.of(config.attacks[0], seed=0)
    held, right = validation(data)
    chosen, fold = right.select(range(images)), not attack.composition.of(Draw)
    fooled = []
    for name in surrogates:
        loaded = load_checkpoint(ZOO.models[f"fashion-mnist/{name}"].folder, SPEC)
        model = optimize(loaded, held.images[:4], precision="fp32", fold=fold)
        for places in torch.arange(images).split(UNIT):
            part = chosen.select(places)
            crafted = craft(
                attack, model, part.images, part.labels, part.ids, pool=Pool(held.images, held.labels)
            )
            fooled += [(predict(victim, crafted) != part.labels).float() for victim in victims()]
    return float(torch.cat(fooled).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--surrogates", nargs="+", default=["resnet50-sgd", "resnet50-lsam"])
    parser.add_argument("--gradients", type=int, default=200)
    parser.add_argument("--few", type=int, default=30)
    parser.add_argument("--many", type=int, default=200)
    parser.add_argument("--finalists", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    with ProcessPoolExecutor(options.jobs) as processes:

        def measured(specs: list[str], images: int) -> dict[str, float]:
            work = [
                processes.submit(rate, spec, options.surrogates, images, options.gradients, options.data)
                for spec in specs
            ]
            found = {spec: one.result() for spec, one in zip(specs, work, strict=True)}
            return {spec: value for spec, value in found.items() if value is not None}

        best, candidates = "bim", list(CANDIDATES)
        reached = measured([best], options.many)[best]
        print(f"start: {best} {100 * reached:.1f} %", flush=True)
        while True:
            few = measured([f"{best}+{one}" for one in candidates], options.few)
            ranked = sorted(few, key=lambda spec: -few[spec])
            for spec in ranked:
                print(f"    {100 * few[spec]:5.1f} % of {options.few}: {spec}", flush=True)
            many = measured(ranked[: options.finalists], options.many)
            for spec, value in many.items():
                print(f"  {100 * value:5.1f} % of {options.many}: {spec}", flush=True)
            winner = max(many, key=lambda spec: many[spec])
            if many[winner] <= reached:
                break
            kept = ranked[: len(ranked) // 2]
            candidates = [one for one in candidates if f"{best}+{one}" in kept]
            best, reached = winner, many[winner]
            print(f"best so far: {best} {100 * reached:.1f} %", flush=True)
    print(f"strong: {best.removeprefix('bim+')} {100 * reached:.1f} % of {options.many} images")


if __name__ == "__main__":
    main()
