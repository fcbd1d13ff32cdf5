"""Studies run: undisturbed, killed at random, in two processes and on a Ray cluster: the same results."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers.processes import Forked, start_command
from helpers.studies import ATTACKS, SHARPNESSES, STUDY, TRAININGS, write_study
from transferzoo.studies.entries import OF_ATTACK
from transferzoo.studies.result_file import read_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILLS = 5


class Place:
    """A folder with a study, and commands run in it, in processes that have PyTorch already."""

    def __init__(self, folder: Path, study: str = STUDY) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.command = write_study(folder, study)

    def start(self, *options: str) -> Forked:
        return start_command([*self.command, *options], self.folder)

    def run(self, *options: str) -> str:
        """Run the study to its end; return its messages."""
        process = self.start(*options)
        process.join(200)
        messages = (self.folder / "said.err").read_text()
        assert process.exitcode == 0, messages
        return messages

    @property
    def results(self) -> bytes:
        return (self.folder / "found.jsonl.gz").read_bytes()

    def cells(self) -> dict[str, Any]:
        """Return the result of every cell, by kind and key."""
        return {
            f"{path.parent.parent.name}/{path.parent.name}": json.loads(path.read_text())["result"]
            for path in (self.folder / "store").glob("*/*/cell.json")
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("TRANSFERZOO_ZOO", raising=False)
        found = Place(tmp_path_factory.mktemp("undisturbed"))
        found.run()
        yield found


def test_every_cell_is_done_once(undisturbed: Place) -> None:
    cells = undisturbed.cells()
    assert len([key for key in cells if key.startswith("train/")]) == TRAININGS
    assert len([key for key in cells if key.startswith("attack/")]) == ATTACKS
    assert len([key for key in cells if key.startswith("sharpness/")]) == SHARPNESSES
    changed = {p: p.stat().st_mtime_ns for p in (undisturbed.folder / "store").rglob("cell.json")}
    messages = undisturbed.run()
    assert "Done" not in messages
    assert changed == {p: p.stat().st_mtime_ns for p in changed}


def test_results_are_what_the_cells_found(undisturbed: Place) -> None:
    found = read_results(undisturbed.folder / "found.jsonl.gz")
    assert {(one.surrogate, one.seed, one.epoch) for one in found.outcomes} == {
        ("sgd", 0, 1),
        ("sgd", 0, 2),
        ("sgd", 1, 1),
        ("sgd", 1, 2),
        ("sam", 0, "last"),
        ("sam", 1, "last"),
    }
    assert {one.target for one in found.outcomes} == {"judge"}
    robust = {(v.surrogate, v.seed, v.epoch): v.value for v in found.values if v.measure == "robust"}
    accuracy = {(v.surrogate, v.seed, v.epoch): v.value for v in found.values if v.measure == "accuracy"}
    assert robust.keys() == accuracy.keys()
    assert all(robust[key] <= accuracy[key] for key in robust)
    assert {v.measure for v in found.values if v.epoch == 2} >= {"learning_rate", "loss"}


def test_killed_at_random(undisturbed: Place, tmp_path: Path) -> None:
    moments, disturbed, ends = random.Random(0), Place(tmp_path / "killed"), []
    for _ in range(KILLS):
        process = disturbed.start()
        process.join(moments.uniform(0.2, 1.5))
        process.kill()
        process.join(60)
        ends.append(process.exitcode)
    assert -signal.SIGKILL in ends
    disturbed.run()
    assert disturbed.results == undisturbed.results
    assert disturbed.cells() == undisturbed.cells()


def test_two_processes_of_which_one_is_killed(undisturbed: Place, tmp_path: Path) -> None:
    shared = Place(tmp_path / "shared")
    process = shared.start("--jobs", "2")
    worker = _worker_of(process, shared)
    os.kill(worker, signal.SIGKILL)
    process.join(200)
    assert process.exitcode == 0, (shared.folder / "said.err").read_text()
    assert shared.results == undisturbed.results
    assert shared.cells() == undisturbed.cells()


def _wait_for_a_cell(is_alive: Callable[[], bool], place: Place) -> None:
    deadline = time.monotonic() + 150
    while not list((place.folder / "store").glob("*/*/cell.json")):
        assert is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _worker_of(process: Forked, shared: Place) -> int:
    """Wait until a cell is done, and return a process that works for another."""
    _wait_for_a_cell(process.is_alive, shared)
    return next(one for server in _children(process.pid or 0) for one in _children(server))


def _children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_ray_cluster_of_which_a_worker_is_killed(undisturbed: Place, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    cluster = Place(tmp_path / "cluster")
    process = cluster.start("--ray", "local")
    _wait_for_a_cell(process.is_alive, cluster)
    while not (working := [p for p in Path("/proc").glob("[0-9]*/cmdline") if _works_for_ray(p)]):
        assert process.is_alive()
    os.kill(int(working[0].parent.name), signal.SIGKILL)
    process.join(200)
    assert process.exitcode == 0, (cluster.folder / "said.err").read_text()
    assert cluster.results == undisturbed.results
    assert cluster.cells() == undisturbed.cells()


def _works_for_ray(cmdline: Path) -> bool:
    try:
        return cmdline.read_bytes().startswith(b"ray::run_cell")
    except OSError:
        return False  # it has ended


def test_a_failing_cell_leaves_out_those_that_need_it(tmp_path: Path) -> None:
    broken = Place(tmp_path / "broken", STUDY.replace('"sam:rho=0.1"', '"sam:rho=1e30"'))
    process = broken.start("--json")
    process.join(200)
    messages = (broken.folder / "said.err").read_text()
    assert process.exitcode == 1
    assert messages.count("Failed: train sam") == 2
    assert "Failed: bim from sam" not in messages
    assert messages.splitlines()[-1].startswith("Error: 2 of 19 cells of the study failed")
    found = json.loads((broken.folder / "said.out").read_text())
    assert found["verdicts"][0]["verdict"] == "not measured"
    assert {line["surrogate"] for line in found["measured"]} == {"sgd"}


def _without(lines: Callable[[dict[str, Any]], bool], path: Path, to: Path) -> None:
    """Copy a result file but for some lines."""
    first, *rest = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    kept = [line for line in rest if not lines(json.loads(line))]
    to.write_bytes(gzip.compress(b"".join([first, *kept])))


def test_records_stand_for_a_store_that_is_gone(undisturbed: Place, tmp_path: Path) -> None:
    place = Place(tmp_path / "gone")
    (place.folder / "found.jsonl.gz").write_bytes(undisturbed.results)
    messages = place.run()
    assert "Done" not in messages
    assert not place.cells()
    assert place.results == undisturbed.results


def test_what_records_lack_is_computed_alone(undisturbed: Place, tmp_path: Path) -> None:
    place = Place(tmp_path / "partial")
    missing = {"surrogate": "sam", "seed": 1}
    _without(
        lambda line: (
            missing.items() <= line.items()
            and ("outcomes" in line or line.get("measure") in ("accuracy", *OF_ATTACK))
        ),
        undisturbed.folder / "found.jsonl.gz",
        place.folder / "found.jsonl.gz",
    )
    messages = place.run()
    done = [line.removeprefix("Done: ") for line in messages.splitlines() if line.startswith("Done")]
    assert sorted(done) == ["bim from sam, seed 1", "train judge, seed 9", "train sam, seed 1"]
    assert place.results == undisturbed.results


def test_records_of_other_cells_are_not_used_and_not_lost(undisturbed: Place, tmp_path: Path) -> None:
    place = Place(tmp_path / "other", STUDY.replace("epochs: 2", "epochs: 2, momentum: 0.8"))
    (place.folder / "found.jsonl.gz").write_bytes(undisturbed.results)
    process = place.start()
    process.join(200)
    messages = (place.folder / "said.err").read_text()
    lines = len(undisturbed.results and read_results(place.folder / "found.jsonl.gz").lines)
    assert f"Not used: {lines} of {lines} records" in messages
    assert process.exitcode == 2
    assert (
        f"has records that this run would lose: expected those of finished cells of this study, got {lines}"
        in messages
    )
    assert place.results == undisturbed.results
    assert not (place.folder / "store").exists()
    process = place.start("--ignore-records", "--dry-run")
    process.join(200)
    assert "Not used" not in (place.folder / "said.err").read_text()


def test_another_study_finds_what_is_there(undisturbed: Place) -> None:
    other = STUDY.replace("seeds: [0, 1]", "seeds: [1, 2]").replace("sgd: {", "plain: {")
    other = other.replace("surrogate: sgd", "surrogate: plain")
    (undisturbed.folder / "other.yaml").write_text(other)
    command = undisturbed.command
    undisturbed.command = [command[0], str(undisturbed.folder / "other.yaml"), *command[2:]]
    try:
        messages = undisturbed.run("--dry-run", "--json")
        plan = json.loads((undisturbed.folder / "said.out").read_text())
    finally:
        undisturbed.command = command
    done = {cell["label"] for cell in plan["cells"] if cell["done"]}
    assert "train plain, seed 1" in done, messages
    assert "bim from sam, seed 1" in done
    assert "train plain, seed 2" not in done


def test_no_process_outlives_the_first(tmp_path: Path) -> None:
    place = Place(tmp_path / "orphaned")
    first = place.start("--jobs", "2")
    _wait_for_a_cell(first.is_alive, place)
    left = _descendants(first.pid or 0)
    first.kill()
    assert len(left) == 3, "a fork server, two workers"
    deadline = time.monotonic() + 30
    while left := [pid for pid in left if _lives(pid)]:
        assert time.monotonic() < deadline, [_line(pid) for pid in left]
        time.sleep(0.1)


def _descendants(pid: int) -> list[int]:
    return [one for child in _children(pid) for one in (child, *_descendants(child))]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_is_clean(tmp_path: Path) -> None:
    place = Place(tmp_path / "stopped")
    process = place.start("--jobs", "2")
    _worker_of(process, place)
    os.killpg(process.pid or 0, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    messages = (place.folder / "said.err").read_text()
    assert messages.splitlines()[-1] == "Interrupted; the same command goes on from here."
    assert "Traceback" not in messages
    found = read_results(place.folder / "found.jsonl.gz")
    assert {line.cell for line in found.lines} <= {key.partition("/")[2] for key in place.cells()}
