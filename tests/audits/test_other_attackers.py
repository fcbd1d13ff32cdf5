"""Audits from Python, by packs and by replicas."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
import torch

import transferzoo
from helpers.photographs import class_folders, draw, finetuned
from helpers.refusals import refused
from transferzoo.audits import wording
from transferzoo.audits.record import SCHEMA_FILE, Verdict, read_audit
from transferzoo.audits.request import AuditRequest
from transferzoo.audits.verdicts import compare
from transferzoo.base.digests import digest_of
from transferzoo.base.errors import DataError
from transferzoo.evaluation.pack_manifest import built_in_packs
from transferzoo.evaluation.packs import read_pack
from transferzoo.models.kept_predictions import KeptPredictions
from transferzoo.training import adaptations
from transferzoo.training.own_data import USUAL

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from helpers.refusals import Run
    from transferzoo.audits.record import AuditRecord

pytestmark = pytest.mark.usefixtures("one_thread")
PACK = "fashion-mnist-three"


def untimed(place: Path) -> dict[str, Any]:
    content = json.loads((place / "audit.json").read_text())
    return {name: value for name, value in content.items() if name not in ("times", "command")}


def test_python_and_the_command_find_the_same(cli: Run, few: Path) -> None:
    """From scratch each: neither sees the other's runs."""
    record = transferzoo.audit(
        "vgg",
        dataset="fashion-mnist",
        data=few,
        surrogates=["resnet50-sgd"],
        attacks=["fgsm", "mi"],
        max_gradients=2,
        images=50,
        max_rate=1,
        runs="runs-of-python",
        folder="made",
    )
    assert isinstance(record, transferzoo.AuditRecord)
    assert record.verdict is Verdict.PASS and record.verdict.exit_code == 0
    assert read_audit(Path("made/audit.json")) == record
    names = "audit.json junit.xml repeat.sh report.html summary.md"
    assert {file.name for file in Path("made").iterdir()} == {*names.split()}
    words = shlex.split(record.command)
    assert words[:3] == ["transferzoo", "audit", "vgg"]
    words[words.index("runs-of-python")], words[words.index("made")] = "runs-of-the-command", "again"
    done = cli(*words[1:])
    assert done.code == 0, done.err
    assert untimed(Path("again")) == untimed(Path("made"))


def test_the_command_of_a_request_asks_the_same(cli: Run) -> None:
    """What repeat.sh of an audit from Python has: options are read back by the command as they were given."""
    from transferzoo.cli import audit as command

    asked = AuditRequest(
        model="./my model.onnx",
        data=Path("val"),
        images=70,
        seed=3,
        surrogates=("a", "b"),
        attacks=("mi", "mi+di:p=0.7"),
        epsilon="8/255",
        max_gradients=20,
        max_rate=0.15,
        time_limit=90.5,
        allow_inaccurate=True,
    )
    found: list[AuditRequest] = []

    def kept(request: AuditRequest, talk: object) -> None:
        found.append(request)
        raise DataError("seen")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transferzoo.audits.audit.plan", kept)
        refused(cli(*shlex.split(asked.command(Path("here"), 1))[1:]), 1, "seen")
    assert found == [asked]
    assert command.AuditCommand(model="m").asked.max_rate == 0.2


def test_a_pack_takes_no_gradient(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("grad", "backward"):
        monkeypatch.setattr(torch.autograd, name, lambda *_, name=name, **__: calls.append(name))
    digest = digest_of(built_in_packs()[PACK], 64)[:12]
    done = cli("audit", "vgg", "--pack", f"{PACK}@{digest}", "--images", 60, "--max-rate", "100%")
    assert (done.code, calls) == (0, []), done.err
    assert "60 images, 0 gradient evaluations" in done.err
    record = read_audit(Path("audits/vgg/audit.json"))
    jsonschema.validate(
        json.loads(Path("audits/vgg/audit.json").read_text()), json.loads(SCHEMA_FILE.read_text())
    )
    assert record.pack is not None and record.pack.sha256.startswith(digest)
    assert {one.kind for one in record.attackers} == {"pack"} and record.gradients == 0
    again = cli("audit", "vgg", "--pack", f"{PACK}@{digest}", "--images", 60, "--max-rate", "100%")
    assert again.out == done.out and "This audit of vgg is finished" in again.err
    made_on = {one.surrogate for one in record.attackers}
    assert not made_on & {one.name for one in record.controls.references}
    scored = cli("score", PACK, "-t", "vgg", "--images-correct-for", "target", "--json")
    assert scored.code == 0, scored.err
    ids = sorted(read_pack(built_in_packs()[PACK]).clean.ids.tolist())  # in the order of the outcomes
    for row, attacker in zip(json.loads(scored.out)["records"], record.attackers, strict=True):
        assert (row["surrogate"], row["attack"]) == (attacker.surrogate, attacker.attack)
        seen = dict(zip(ids, row["outcomes"], strict=True))
        assert attacker.outcomes == "".join(seen[image.id] for image in record.images)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((f"{PACK}@00000000",), 1, "is another pack"),
        ((f"{PACK}@18bb",), 2, "too few digits"),
        (("missing.zip",), 2, "unknown pack"),
        ((PACK, "--eps", "8/255", "-s", "vit"), 2, "got --epsilon, --surrogate"),
        ((PACK, "--data", "val", "--seed", 0), 2, "got --data, --seed"),
        ((PACK, "--attackers", "replica"), 2, "got --attackers"),
    ],
)
def test_what_a_pack_does_not_go_with(cli: Run, words: tuple[object, ...], code: int, sentence: str) -> None:
    refused(cli("audit", "vgg", "--pack", *words), code, sentence)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with somebody's model of five classes, and images that it was not trained on."""
    home = tmp_path_factory.mktemp("mine")
    class_folders(home / "photos", *draw(300, 1))
    finetuned(home / "model.pt", *draw(480, 2), epochs=3, network="test_resnet")
    return home


def test_replicas_ask_no_more_than_they_may(
    mine: Path, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(adaptations, "FRESH", ("small_resnet18:width=8",))
    row = USUAL[1]._replace(most=1e9, epochs=12, batch_size=16, learning_rate=0.05)
    monkeypatch.setattr("transferzoo.training.own_data.USUAL", (row,))
    asked: list[int] = []
    ask = KeptPredictions.ask

    class Counted(KeptPredictions):
        """What is asked for labels alone: the audit asks for its own images by other ways."""

        def ask(self, at: Tensor, *others: Any) -> Tensor:
            asked.append(int((self.read()["most_likely"][at] < 0).sum()))
            return ask(self, at, *others)

    monkeypatch.setattr("transferzoo.training.labels.KeptPredictions", Counted)
    target = (mine / "model.pt", "--architecture", "test_resnet", "--data", mine / "photos")
    words = ("audit", *target, "--attackers", "replica", "--queries", 120, "-a", "mi", "--max-gradients", 4)
    planned = json.loads(cli(*words, "--dry-run", "--json").out)["trains"]
    assert "Trains first, once: " in cli(*words, "--dry-run").out
    assert [one["queries"] for one in planned] == [120] * 3 and asked == []
    assert all(one["config"]["labels_from"].endswith("/model") for one in planned)
    done = cli(*words, "--max-rate", "100%", "--jobs", 1)
    assert done.code == 0, done.err
    assert sum(asked) == 120  # three replicas, the same answers
    assert "trained once on 120 answers of model to images that are not attacked" in done.err
    assert done.err.count("answers as model does on") == 3
    assert len(re.findall(r"^training \S+: step ", done.err, re.MULTILINE)) == 3 * 4, "each quarter"
    (place,) = Path("audits").iterdir()
    record = read_audit(place / "audit.json")
    assert record.answers == 120 and "those for 120 answers before" in done.err
    assert {one.kind for one in record.attackers} == {"replica"}
    assert "who was told model's classes of 120 other images" in done.out
    assert "AML.T0005.001" in done.out and "otherwise than for 120 classes" in done.out
    _check_agreements(record, done.err, done.out)
    audited = {image.sha256 for image in record.images}
    assert len(audited) == 90  # of 300 those that no training sees
    assert compare(record, record).verdict is Verdict.PASS
    again = cli(*words, "--max-rate", "100%", "--jobs", 1)
    assert again.code == 0 and sum(asked) == 120
    assert wording.not_shown(record) in again.out


def _check_agreements(record: AuditRecord, said: str, out: str) -> None:
    """Compare with what the trainings said, and weaken the attackers: a pass is worth less then."""
    agreed = sorted(float(one) / 100 for one in re.findall(r"answers as model does on ([\d.]+)%", said))
    alone = sorted(a.agreement for a in record.attackers if " & " not in a.surrogate and a.agreement)
    assert alone == pytest.approx(agreed, abs=5e-4)
    (together,) = [a.agreement for a in record.attackers if " & " in a.surrogate]
    assert together == pytest.approx(sum(agreed) / 3, abs=5e-4)
    assert ("Caution: these attackers are weak" in out) == (max(agreed) < 0.8)
    cases = (
        ({"agreement": 0.4}, "Their best surrogate answers as the model does on 40.0 % of images that it"),
        ({"agreement": 0.9, "surrogate_accuracy": 0.1}, ""),
        ({"agreement": None, "surrogate_accuracy": 0.1}, "Their best surrogate gets 10.0 % of the images"),
        ({"agreement": None, "surrogate_accuracy": record.model.accuracy}, ""),
    )
    for update, sentence in cases:
        weakened = tuple(one.model_copy(update=update) for one in record.attackers)
        passed = record.model_copy(update={"attackers": weakened, "verdict": Verdict.PASS})
        assert sentence in wording.weak(passed) and bool(sentence) == bool(wording.weak(passed))
        assert not wording.weak(passed.model_copy(update={"verdict": Verdict.FAIL}))


def test_what_replicas_refuse(cli: Run) -> None:
    for words, sentence in (
        (("--queries", 10), "only replicas take queries"),
        (("--attackers", "replica", "-s", "vit"), "trains surrogates of its own"),
        (("--attackers", "replicas"), "unknown kind 'replicas' of attackers"),
    ):
        refused(cli("audit", "vgg", *words), 2, sentence)
