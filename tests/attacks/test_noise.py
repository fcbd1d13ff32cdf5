"""Random noise: what it is made of, and that it stands beside every attack."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
import torch

from helpers.refusals import ATTACK
from transferzoo import evaluate, load_images, load_model, read_attack, tables
from transferzoo.attacks.noise import noise_name, noisy
from transferzoo.base.budget import Budget
from transferzoo.models.predict import predict
from transferzoo.results.conclusion import conclusion

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
GREY = torch.full((40, 3, 16, 16), 128, dtype=torch.uint8)


def budget(norm: str, epsilon: Fraction) -> Budget:
    return Budget(norm, epsilon, epsilon, 1)


def test_in_linf_every_value_moves_by_all_levels_up_or_down() -> None:
    found = noisy(GREY, range(40), budget("linf", Fraction(8, 255)), 0).int() - 128
    assert found.unique().tolist() == [-8, 8]
    assert abs(found.double().mean()) < 8 * 5 / found.numel() ** 0.5, "both signs are equally likely"
    white = noisy(torch.full_like(GREY, 255), range(40), budget("linf", Fraction(8, 255)), 0)
    assert sorted(white.unique().tolist()) == [247, 255], "inside the box"


def test_in_l2_all_images_move_as_far_in_directions_without_preference() -> None:
    found = noisy(GREY, range(40), budget("l2", Fraction(2)), 0).double() - 128
    lengths = (found / 255).flatten(1).norm(dim=1)
    assert lengths.max() <= 2 + 1e-9
    assert lengths.min() > 1.95, "rounding takes a little"
    cosines = (
        torch.nn.functional.normalize(found.flatten(1)) @ torch.nn.functional.normalize(found.flatten(1)).T
    )
    assert cosines.fill_diagonal_(0).abs().max() < 5 / 768**0.5


def test_a_draw_is_the_images_own() -> None:
    whole = noisy(GREY, range(40), budget("linf", Fraction(8, 255)), 7)
    assert torch.equal(whole[5:9], noisy(GREY[5:9], range(5, 9), budget("linf", Fraction(8, 255)), 7))
    assert not torch.equal(whole, noisy(GREY, range(40), budget("linf", Fraction(8, 255)), 8))
    assert noise_name(budget("linf", Fraction(8, 255))) == "noise@linf,eps=8/255"


def test_the_api_has_it_and_says_what_it_means() -> None:
    images, target = load_images().select(range(80)), load_model("vgg")
    attack = read_attack("bim", epsilon="16/255", steps=5)
    found = evaluate(attack, load_model("resnet50-sgd"), {"vgg": target}, images.images, images.labels)
    (noise,) = found.noise
    places = (predict(target, images.images) == images.labels).nonzero().flatten()
    chosen = images.select(places)
    shown = noisy(chosen.images, places.tolist(), budget("linf", Fraction(16, 255)), 0)
    hits = (predict(target, shown) != chosen.labels).tolist()
    assert noise.outcomes == "".join("1" if hit else "0" for hit in hits)
    assert (noise.gradients, noise.white_box, noise.surrogate) == (0, False, "random noise")
    (table,) = tables(found)
    assert table.columns[4] == "noise"
    assert table.rows[0][4] == f"{100 * noise.rate:.1f}"
    assert table.caption.endswith(conclusion(found))
    assert f"random noise of the same budget on {100 * noise.rate:.1f} %." in conclusion(found)


def test_it_is_in_every_form_of_a_run(cli: Run, few: Path, tmp_path: Path) -> None:
    files = [f"t.{suffix}" for suffix in ("json", "csv", "md", "tex")]
    options = [word for file in files for word in ("-o", file)]
    done = cli(*ATTACK, "-t", "vit", "-a", "bim", "-a", "mi", "--data", few, *options)
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "t.json").read_text())
    assert [r["target"] for r in content["noise"]] == ["fashion-mnist/vgg", "fashion-mnist/vit"]
    assert {r["surrogate"] for r in content["records"]} == {"fashion-mnist/resnet50-sgd"}
    lines = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert sum(line["surrogate"] == "random noise" for line in lines) == 2
    for text in (done.out, (tmp_path / "t.md").read_text(), (tmp_path / "t.tex").read_text()):
        assert "random noise" in text
        assert "of the same budget on" in " ".join(text.split())
    (run,) = (tmp_path / "runs").iterdir()
    assert cli("report", run).out == done.out
    assert cli("report", run, "--html", "page.html").code == 0
    assert "random noise" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_every_budget_has_its_own(cli: Run, few: Path) -> None:
    plans = []
    for epsilon in ("8/255", "32/255"):
        done = cli(*ATTACK, "--data", few, "--eps", epsilon, "--images-correct-for", "none", "--json")
        plans += json.loads(done.out)["noise"]
    assert [r["attack"] for r in plans] == ["noise@linf,eps=8/255", "noise@linf,eps=32/255"]
    assert plans[0]["successes"] <= plans[1]["successes"]
    targeted = json.loads(cli(*ATTACK, "--data", few, "--targeted", "next", "--json").out)
    assert targeted["noise"][0]["rate"] < 0.2
    assert "makes" in targeted["conclusion"]
    assert "predict the target class" in targeted["conclusion"]
