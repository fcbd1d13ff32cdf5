"""How much do results vary with the training seed?

`python tests/scripts/make_seeds.py CHECKPOINTS [--data PATH]`

Trains seeds 1 and 2 of four surrogates into CHECKPOINTS/NAME-seedN (what is finished is taken as it is; seed
0 is the one in the package), attacks from all of them on all targets, and prints for each the success rate
of every seed, mean and standard deviation, and the difference to SGD's of the same seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

from make_zoo import train

SURROGATES = ("resnet50-sgd", "resnet50-early", "resnet50-sam", "resnet50-lsam")
SEEDS = (0, 1, 2)


def rates(surrogate: str) -> dict[str, float]:
    """Return a surrogate's success rate on each target, through the command line."""
    command = [sys.executable, "-m", "transferzoo", "attack", "--surrogate", surrogate, "--targets", "all"]
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    records = json.loads(done.stdout)["records"]
    return {record["target"]: record["rate"] for record in records if not record["white_box"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    folders = {(n, s): asked.checkpoints.resolve() / f"{n}-seed{s}" for n in SURROGATES for s in SEEDS if s}

    def make(key: tuple[str, int]) -> None:
        train(key[0], folders[key], asked.data, "--seed", str(key[1]))

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(make, folders))
    cells = {(n, s): rates(str(folders.get((n, s), n))) for n in SURROGATES for s in SEEDS}
    print(
        f"{'surrogate':16}" + "".join(f"{f'seed {s}':>9}" for s in SEEDS) + "     mean ± sd   minus sgd ± sd"
    )
    for name in SURROGATES:
        values = [100 * mean(cells[name, seed].values()) for seed in SEEDS]
        base = [100 * mean(cells[SURROGATES[0], seed].values()) for seed in SEEDS]
        gains = [a - b for a, b in zip(values, base, strict=True)]
        print(
            f"{name:16}"
            + "".join(f"{value:9.1f}" for value in values)
            + f"   {mean(values):5.1f} ± {stdev(values):3.1f}   {mean(gains):+6.1f} ± {stdev(gains):3.1f}"
        )
    targets = len(cells[SURROGATES[0], 0])
    print(f"Mean success rate over {targets} targets in %, BIM, the data set's defaults, {len(SEEDS)} seeds.")


if __name__ == "__main__":
    main()
