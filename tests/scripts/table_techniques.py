"""What each technique adds, at equal cost.

`python tests/scripts/table_techniques.py [--jobs 2] [--runs DIR]`

Attacks from two built-in surrogates by every technique alone (the suite `singles`) and by `dem+mi`, all with
the same number of gradient evaluations an image, tries the images on all targets, and prints for each the
mean success rate with its interval, and the paired difference to plain BIM. A run folder that is kept goes
on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from typing import Any

from transferzoo.results.comparisons import brief, paired_tests, per_image, rows_of
from transferzoo.results.records import Record, short
from transferzoo.results.statistics import mean_interval


def run(surrogates: list[str], attacks: list[str], gradients: int, images: int, jobs: int, runs: str) -> Any:
    """Return what the command line prints as JSON."""
    flags = [flag for name in surrogates for flag in ("-s", name)]
    flags += [flag for name in attacks for flag in ("-a", name)]
    command = ["-m", "transferzoo", "attack", *flags, "-t", "all", "--max-gradients", str(gradients)]
    command += ["--images", str(images), "--runs", runs, "--json"]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={jobs}"] if jobs > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *command], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return json.loads(done.stdout)


def cells(records: list[Record]) -> dict[str, tuple[str, str]]:
    """Return attack → mean rate and difference to the first attack, as text."""
    rows = rows_of(records)
    tests = {test["attack"]: test["mean_difference"] for test in paired_tests(records)}
    found = {}
    for (_, attack), row in rows.items():
        shares = per_image(row)
        low, high = mean_interval(shares)
        rate = f"{100 * sum(shares) / len(shares):5.1f} {f'{100 * low:.1f}–{100 * high:.1f}':>9}"
        change = tests.get(attack)
        gain = ""
        if change:
            gain = f"{100 * change['mean']:+5.1f} [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"
        found[attack] = (rate, gain)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surrogates", nargs="+", default=["resnet50-sgd", "resnet50-lsam"])
    parser.add_argument("--attacks", nargs="+", default=["singles", "dem+mi"])
    parser.add_argument("--gradients", type=int, default=200)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", help="where the run folder is kept; nowhere where nothing is said")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = run(
            asked.surrogates, asked.attacks, asked.gradients, asked.images, asked.jobs, asked.runs or folder
        )
    by_surrogate: dict[str, list[Record]] = defaultdict(list)
    for entry in content["records"]:
        fields = {key: value for key, value in entry.items() if key != "seconds"}
        by_surrogate[entry["surrogate"]].append(Record(**fields))
    columns = {name: cells(records) for name, records in by_surrogate.items()}
    first = next(iter(by_surrogate.values()))
    print(f"{'':34}" + "".join(f"{short(name):40}" for name in columns))
    print(f"{'attack':34}" + f"{'success rate, %':16}{'over bim (points)':24}" * len(columns))
    gradients = {record.attack: record.gradients for record in first}
    for attack in gradients:
        line = f"{brief(attack.partition('@')[0]):34}"
        for column in columns.values():
            rate, gain = column[attack]
            line += f"{rate:16} {gain:23}"
        print(line.rstrip())
    most, least = max(gradients.values()), min(gradients.values())
    targets = len({record.target for record in first})
    print(
        f"{least} to {most} gradient evaluations an image; mean over {targets} targets, "
        f"n = {first[0].n} images, seed {first[0].seed}, one training a surrogate; 95 % intervals, paired t."
    )


if __name__ == "__main__":
    main()
