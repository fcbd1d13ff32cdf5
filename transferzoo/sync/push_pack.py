"""The upload plan of a pack: its file under the repository's name, and a data set card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.printable import printable
from transferzoo.base.spec_strings import parse_terms
from transferzoo.base.table import Table
from transferzoo.evaluation.hub_packs import PREFIX, pack_file
from transferzoo.evaluation.packs import read_pack
from transferzoo.results.comparisons import attack_name
from transferzoo.results.records import short
from transferzoo.results.writers import to_markdown
from transferzoo.sync.licences import LICENCES, check_licence, check_repo
from transferzoo.sync.push import CARD, UploadPlan

if TYPE_CHECKING:
    from pathlib import Path

    from huggingface_hub import DatasetCardData

    from transferzoo.evaluation.packs import Pack

TAGS = ("transferzoo", "adversarial-examples", "adversarial-transferability")


def plan_pack_upload(file: Path, repo: str, *, licence: str = "") -> UploadPlan:
    """Check a pack and write its card.

    Args:
        file: a pack; all that it says of itself is checked.
        repo: "OWNER/NAME".
        licence: of the images, an identifier of the Hub; what the pack says if empty.

    Raises:
        DataError: the pack is damaged.
        UsageError: no repository can have that name, or the licence is unknown to the Hub.
    """
    check_repo(repo)
    pack = read_pack(file)
    card = pack_card(pack, repo, licence)
    return UploadPlan(file.stem, repo, {pack_file(repo): file}, {CARD: card}, "dataset")


def pack_card(pack: Pack, repo: str, licence: str = "") -> str:
    """Return the data set card of a pack: front matter that the Hub reads, then text for people.

    Args:
        pack: that is described.
        repo: "OWNER/NAME" of the data set on the Hub.
        licence: of the images; what the pack says if empty.

    Raises:
        UsageError: the licence is unknown to the Hub.
    """
    sections = (
        f"# {repo.rpartition('/')[2]}",
        "Adversarial images, made without a look at any target. They are tried on any number of models by "
        "forward passes alone.",
        to_markdown([_rows(pack), Table("Facts", ("what", "value"), tuple(_facts(pack, repo).items()))]),
        "## How to try them on a model",
        f"```sh\ntransferzoo score {PREFIX}{repo} --target MODEL\n```",
        "The pack is a zip of PNGs with `labels.csv` and `pack.json`, which states the SHA-256 of every "
        "other file; reading it checks hashes, sizes and budgets.",
        "## What it is for",
        "It is for the evaluation of robustness. Success rates hold for these images, these surrogates, this "
        "attack and budget; that a model withstands them is no certificate of robustness.",
    )
    front = _front_matter(pack, repo, licence).to_yaml()
    return printable(f"---\n{front}\n---\n\n" + "\n\n".join(sections) + "\n")


def _front_matter(pack: Pack, repo: str, licence: str) -> DatasetCardData:
    from huggingface_hub import DatasetCardData

    made, own = pack.manifest, pack.manifest.licence.lower()
    known = check_licence(licence) if licence else own if own in LICENCES else "other" if own else "unknown"
    techniques = [
        term.name for row in made.images for term in parse_terms(row.attack.partition("@")[0]) if term.name
    ]
    named: dict[str, Any] = {"license_name": made.licence} if known == "other" and own else {}
    return DatasetCardData(
        license=known,
        **named,
        task_categories=["image-classification"],
        tags=[*TAGS, *dict.fromkeys(techniques)],
        pretty_name=repo.rpartition("/")[2],
        size_categories=[_size(len(pack.clean))],
    )


def _facts(pack: Pack, repo: str) -> dict[str, str]:
    """Return what the manifest says of all rows together."""
    made = pack.manifest
    by = "every surrogate classifies correctly" if made.images_correct_for == "all" else "there are"
    return {
        "data set": f"{made.dataset}{f', {made.split}' if made.split else ''}, {len(made.classes)} classes",
        "clean images": f"{len(pack.clean)}, {made.channels}×{made.size}×{made.size}",
        "chosen": f"a draw with seed {made.seed} of those that {by}",
        "target classes": made.targeted or "none: any wrong class will do",
        "licence of the images": made.licence or "not known",
        "origin of the images": made.origin or "not known",
        "file": f"`{pack_file(repo)}`, {pack.place.stat().st_size:,} bytes",
        "SHA-256 of the file": f"`{pack.sha256}`",
        "versions": ", ".join(f"{package} {version}" for package, version in made.versions.items()),
    }


def _rows(pack: Pack) -> Table:
    """Return what each row of adversarial images was made by."""
    return Table(
        "Adversarial images",
        ("surrogate", "attack", "gradients", "accuracy (%)", "SHA-256 of the surrogate"),
        tuple(
            (
                short(row.surrogate),
                f"`{attack_name(row.attack)}`",
                str(row.gradients),
                f"{100 * row.surrogate_accuracy:.1f}",
                " & ".join(f"`{digest[:12]}`" for digest in row.surrogate_sha256.split(" & ")),
            )
            for row in pack.manifest.images
        ),
    )


def _size(count: int) -> str:
    """Return the Hub's name of a number of images."""
    ends = {1000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    return next((name for end, name in ends.items() if count < end), "100K<n<1M")
