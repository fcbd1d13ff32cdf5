"""`audit` through the real command: verdicts with their exit codes, and the files of the folder."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from junitparser import Error, Failure, JUnitXml, Skipped

import transferzoo
from helpers.browser import browsing, chromium
from helpers.checkpoints import copied, with_classes
from helpers.pages import Page
from transferzoo.audits.record import SCHEMA_FILE, json_schema, read_audit
from transferzoo.audits.verdicts import fewest_to_worsen
from transferzoo.base.errors import TransferZooError

if TYPE_CHECKING:
    from conftest import Result
    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
SURROGATES = ["-s", "resnet50-sam", "-s", "resnet50-sgd"]
SHORT = [*SURROGATES, "-a", "fgsm", "-a", "mi", "--max-gradients", "4", "--eps", "24/255", "--images", "50"]
ATTACKERS = 6


def refused(done: Result, code: int, sentence: str) -> None:
    """Check that an audit ended without a verdict, its last line saying why."""
    assert (done.code, done.out) == (code, ""), done
    last = done.err.splitlines()[-1]
    assert last.startswith("Error: ") and sentence in last, done.err


def written(folder: str) -> dict[str, Any]:
    return dict(json.loads((Path("audits") / folder / "audit.json").read_text()))


def test_an_audit_from_its_verdicts_to_its_files(cli: Run, few: Path) -> None:
    words = ["audit", "vgg", "--dataset", "fashion-mnist", "--data", few, *SHORT]
    planned = cli(*words, "--dry-run")
    assert planned.out.startswith(f"Cost: {ATTACKERS} attackers, 50 images, ") and planned.err == ""
    assert re.search(r"; about \d\S* (s|min)\.$", planned.out.strip()), "a time, and never none"
    assert not Path("audits").exists()

    passed = cli(*words, "--max-rate", "100%")
    assert passed.code == 0, passed.err
    assert "PASS. Evidence that none of these attackers fools more than 100 %" in passed.out
    for said in (
        "May an attacker who never saw vgg fool it with images that are made on other models and changed by "
        "at most 24/255 (linf)?",
        f"50 images of fashion-mnist were drawn; the {written('vgg')['counted']} that the model gets right",
        "Random noise of the same size fools ",
        "reference models of the zoo: rank ",
        f"Any of the {ATTACKERS} attackers fools ",
        "Not shown: what an attacker reaches who queries the model, knows its weights",
        "no certificate",
        "It is evidence for an assessment of MITRE ATLAS AML.T0043.002",
    ):
        assert said in passed.out
    everything = "".join(file.read_text() for file in Path("audits/vgg").iterdir())
    assert "Holm: the lowest limit that the attacker is shown to be within" in everything
    assert "AML.T0043.002" in everything and "compliant" not in everything + passed.out
    found = written("vgg")
    jsonschema.validate(found, json.loads(SCHEMA_FILE.read_text()))
    assert len(found["attackers"]) == ATTACKERS
    for attacker in found["attackers"]:
        counted = attacker["outcomes"].replace("-", "")
        assert len(counted) == found["counted"]
        assert attacker["share"]["rate"] == pytest.approx(counted.count("1") / len(counted))
        assert attacker["gradients"] <= 4
    any_of = sum("1" in image for image in zip(*(a["outcomes"] for a in found["attackers"]), strict=True))
    assert found["any_of"]["rate"] == pytest.approx(any_of / found["counted"])
    rates = [one["rate"] for one in found["controls"]["references"]]
    assert rates == sorted(rates) and len(rates) == 8  # every target of the zoo but vgg
    assert found["controls"]["rank"] == 1 + sum(rate < found["held_out"]["rate"] for rate in rates)

    failed = cli(*words, "--max-rate", "0.1%", "--json")
    assert failed.code == 3, failed.err
    assert json.loads(failed.out) == written("vgg")
    junit = JUnitXml.fromfile("audits/vgg/junit.xml")
    (suite,) = junit
    assert (suite.tests, suite.failures, suite.errors) == (ATTACKERS + 1, suite.failures, 0)
    results = {case.name: [type(one) for one in case.result] for case in suite}
    assert results["verdict"] == [Failure]
    assert sum(kinds == [Failure] for kinds in results.values()) == suite.failures > 1

    limit = written("vgg")["held_out"]["rate"]
    unclear = cli(*words, "--max-rate", str(limit), "--folder", "audits/unclear")
    assert unclear.code == 4, unclear.err
    assert "CANNOT TELL. The limit of" in unclear.out
    (suite,) = JUnitXml.fromfile("audits/unclear/junit.xml")
    results = {case.name: [type(one) for one in case.result] for case in suite}
    assert results["verdict"] == [Error] and [Skipped] in results.values()
    assert "CANNOT TELL" in Path("audits/unclear/summary.md").read_text()

    page = Path("audits/unclear/report.html")
    assert "CANNOT TELL" in page.read_text() and "http" not in page.read_text().replace("http-equiv", "")
    assert len([*Page.of(page.read_text()).root.every("table")]) == 2
    if program := chromium():
        with browsing(program) as browser:
            for width in (360, 1440):
                browser.open(page.resolve().as_uri(), width, dark=False)
                assert browser.tell("document.documentElement.scrollWidth") <= width
                assert not browser.happened("Runtime.exceptionThrown", "Log.entryAdded")
    repeat = Path("audits/unclear/repeat.sh")
    assert subprocess.run(["sh", "-n", repeat], check=False).returncode == 0
    assert f"exec transferzoo audit vgg --dataset fashion-mnist --data {few}" in repeat.read_text()

    _compared(cli, words)
    left = cli(*words, "--time-limit", "0.001s")
    refused(left, 1, "the audit cannot be done in")


def _compared(cli: Run, words: list[Any]) -> None:
    """Compare with the release before: the same one, one that nothing fooled, others."""
    same = cli(*words, "--folder", "audits/same", "--baseline", "audits/unclear/audit.json")
    assert same.code == 0, same.err
    assert "PASS. Not significantly worse than vgg, which does not show" in same.out
    robust = written("unclear")
    for attacker in robust["attackers"]:
        attacker["outcomes"] = attacker["outcomes"].replace("1", "0")
    Path("robust.json").write_text(json.dumps(robust))
    worse = cli(*words, "--folder", "audits/worse", "--baseline", "robust.json")
    assert worse.code == 3, worse.err
    assert "FAIL. Significantly worse than vgg" in worse.out
    assert written("worse")["comparison"]["verdict"] == "fail"
    jsonschema.validate(written("worse"), json.loads(SCHEMA_FILE.read_text()))
    both = cli(
        *words, "--folder", "audits/both", "--baseline", "audits/unclear/audit.json", "--max-rate", "0.1%"
    )
    assert both.code == 3, both.err

    _few_in_common(cli, words, robust)
    inside = cli(*words, "--folder", "audits/unclear", "--baseline", "audits/unclear/audit.json")
    refused(inside, 2, "the baseline lies where this audit is written")
    other = cli(*words, "--eps", "23/255", "--folder", "audits/other", "--baseline", "robust.json")
    refused(
        other, 2, "the baseline allowed another change of the images: expected linf 24/255, got linf 23/255"
    )
    refused(cli(*words, "-a", "di", "--baseline", "robust.json"), 2, "the baseline has other attacks")
    at = words.index("resnet50-sgd")
    for others in ([*words, "-s", "resnet50-asam"], [*words[: at - 1], *words[at + 1 :]]):
        refused(cli(*others, "--baseline", "robust.json"), 2, "the baseline has other surrogates")
    assert Path("audits/vgg/audit.json").exists()  # known before anything was measured
    robust["attackers"] = robust["attackers"][1:]
    Path("fewer.json").write_text(json.dumps(robust))
    refused(cli(*words, "--baseline", "fewer.json"), 1, "the baseline is of other attackers")
    assert not Path("audits/vgg/audit.json").exists()  # of an audit that ended without a verdict


def _few_in_common(cli: Run, words: list[Any], baseline: dict[str, Any]) -> None:
    """Where not even an attacker that fools all common images would be beyond chance, none is a pass."""
    fewest = fewest_to_worsen(len(baseline["attackers"]))
    for count, codes in ((0, (4,)), (fewest - 1, (4,)), (fewest, (0, 3))):
        both = [at for at, one in enumerate(baseline["attackers"][0]["outcomes"]) if one != "-"][:count]
        images = [one if at in both else {**one, "id": -1 - at} for at, one in enumerate(baseline["images"])]
        Path("few.json").write_text(json.dumps({**baseline, "images": images}))
        done = cli(*words, "--folder", f"audits/few-{count}", "--baseline", "few.json")
        assert done.code in codes, done.err
        assert ("cannot be told: " in done.out) == (4 in codes)


def test_what_is_usual(cli: Run, few: Path) -> None:
    """Five surrogates and all of them together, three attacks, fifty gradients an image each, 300 images."""
    done = cli("audit", "vgg", "--dataset", "fashion-mnist", "--dry-run", "--json")
    assert done.code == 0, done.err
    cost = json.loads(done.out)
    assert (cost["attackers"], cost["images"]) == (18, 300)
    assert cost["gradients"] == 18 * 300 * 50
    assert cost["queries"] > 20 * 300  # each attacker's images, two times noise, and the clean ones


def test_the_workflow_of_the_readme(cli: Run) -> None:
    text = (Path(transferzoo.__file__).parent / "audits" / "README.md").read_text()
    (workflow,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    steps = yaml.safe_load(workflow)["jobs"]["audit"]["steps"]
    (command,) = [step["run"] for step in steps if step.get("run", "").startswith("transferzoo audit")]
    program, *words = shlex.split(command)
    assert program == "transferzoo"
    refused(cli(*words), 2, "model.onnx")  # every flag is known; there is no model
    assert "transferzoo audit" in text and "compliant" not in text


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["vgg", "--max-rate", "120%"], 2, "cannot read --max-rate"),
        (["vgg", "--max-rate", "0"], 2, "a --max-rate of 0.1% or more"),
        (["vgg", "--max-rate", "0.01%"], 2, "a --max-rate of 0.1% or more"),
        (["vgg", "--time-limit", "soon"], 2, "cannot read --time-limit"),
        (["./no-model.onnx"], 2, "there is no './no-model.onnx'"),
        (["vgg", "--baseline", "none.json"], 1, "cannot read the audit none.json"),
        (["vgg", "--baseline", "bad.json"], 1, "cannot read the audit bad.json"),
        (["./bad.onnx", "--images", "20"], 1, "bad.onnx"),
        (["vgg", "--data", "nowhere"], 1, "nowhere"),
        (["vgg,vit"], 2, "is no single model"),
    ],
)
def test_what_cannot_be_audited(cli: Run, words: list[str], code: int, sentence: str) -> None:
    Path("bad.json").write_text('{"schema_version": 7}')
    Path("bad.onnx").write_bytes(b"nothing of a model")
    refused(cli("audit", *words), code, sentence)


def test_no_verdict_is_left_where_nothing_could_be_measured(cli: Run, few: Path, tmp_path: Path) -> None:
    """Whatever fails, before the images are known too; a wrong request and a cost leave it as it is."""
    words = ("audit", "vgg", "--dataset", "fashion-mnist", *SURROGATES, "-a", "fgsm", "--max-rate", "100%")
    assert cli(*words, "--data", few, "--images", 20).code == 0
    files = sorted(Path("audits/vgg").iterdir())
    assert len(files) == 5
    (tmp_path / "broken" / "Bag").mkdir(parents=True)
    (tmp_path / "broken" / "Bag" / "one.png").write_bytes(b"no picture")
    for wrong, code in (
        (("--data", tmp_path / "broken", "--dry-run"), 1),
        (("--data", few, "-a", "nothing"), 2),
        (("--data", few, "--baseline", "audits/vgg/audit.json"), 2),
    ):
        assert cli(*words, *wrong).code == code
        assert sorted(Path("audits/vgg").iterdir()) == files
    Path("audits/vgg/mine.txt").write_text("stays")
    assert cli(*words, "--data", tmp_path / "broken").code == 1
    assert [file.name for file in Path("audits/vgg").iterdir()] == ["mine.txt"]
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "summary.md").write_text("of no audit")
    broken = (*words, "--data", tmp_path / "broken", "--folder")
    assert cli(*broken, theirs).code == 1 and (theirs / "summary.md").exists()
    assert cli(*words, "--data", few, "--images", 20, "--folder", theirs).code == 0
    with pytest.raises(TransferZooError):
        transferzoo.audit("vgg", data=tmp_path / "broken", dataset="fashion-mnist", folder=theirs)
    assert not [*theirs.iterdir()]
    refused(cli(*broken, tmp_path / "broken" / "Bag" / "one.png"), 1, "")
    assert cli(*words, "--data", few, "--images", 20).code == 0
    place = Path("audits/vgg/audit.json")
    baseline = ("--baseline", tmp_path / "nothing.json", "--folder", place.parent)
    before = place.read_bytes()
    refused(cli(*words, "--data", few, *baseline), 1, "nothing.json")
    assert place.read_bytes() == before, "a name that was mistyped takes none away"
    place.write_text(place.read_text().replace('"dataset": "fashion-mnist"', '"dataset": "photos"'))
    again = cli(*words, "--data", few, "--images", 20)
    assert "Note: the audit on photos in audits/vgg is replaced; --folder keeps both." in again.err
    assert "is replaced" not in cli(*words, "--data", few, "--images", 20).err


def test_a_doubtful_model_does_not_pass_without_a_caution(cli: Run, few: Path, tmp_path: Path) -> None:
    """One with some classes interchanged is audited on the others; nor where it is finished already."""
    with_classes(copied("vgg", tmp_path / "mine"), (1, 0, 3, 2, *range(4, 10)), None)
    words = ("audit", "./mine", "--dataset", "fashion-mnist", "--data", few, *SURROGATES, "-a", "fgsm")
    for _ in range(2):
        done = cli(*words, "--images", 20, "--max-rate", "100%")
        assert done.code == 0, done.err
        (accuracy,) = re.findall(r"its clean accuracy is ([\d.]+) %", done.out)
        assert 40 < float(accuracy) < 70
        (folder,) = Path("audits").iterdir()
        for said in (done.out, (folder / "summary.md").read_text(), (folder / "report.html").read_text()):
            assert "Caution: " in said and "with its classes in another order it would be right" in said
    plain = cli("audit", "vgg", *words[2:], "--images", 100, "--max-rate", "100%")
    assert "PASS" in plain.out and "clean accuracy is" in plain.out and "in another order" not in plain.out


def test_the_schema_in_the_package_is_that_of_the_record() -> None:
    assert SCHEMA_FILE.read_text() == json_schema()


def test_a_model_that_attacks_itself_is_left_out(cli: Run, few: Path) -> None:
    words = ["audit", "resnet50-sgd", "--dataset", "fashion-mnist", "--data", few, *SURROGATES]
    done = cli(*words, "-a", "fgsm", "--images", 20, "--max-rate", "100%")
    assert done.code == 0, done.err
    kept = read_audit(Path("audits/resnet50-sgd/audit.json"))
    assert {one.surrogate for one in kept.attackers} == {"fashion-mnist/resnet50-sam"}
    assert "Left out, as they have the weights of the audited model" in done.out
    named = ["audit", "resnet50-sgd", *words[2:6], "-s", "resnet50-sam", "-a", "fgsm", "--folder", "named"]
    assert cli(*named, "--images", 20, "--max-rate", "100%").code == 0
    controls = read_audit(Path("named/audit.json")).controls
    assert kept.controls == controls, "the others are judged under the same attackers"
    one, other = "audits/resnet50-sgd/audit.json", "named/audit.json"
    for asked, baseline in ((named[:-2], one), ([*words, "-a", "fgsm"], other)):
        same = cli(*asked, "--images", 20, "--folder", f"by-{len(asked)}", "--baseline", baseline)
        assert same.code == 0, same.err
        assert "PASS. Not significantly worse" in same.out
