"""`transferzoo pull`: models, images and packs from the Hub to this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.cli.completion import complete_datasets, complete_pulls
from transferzoo.cli.options import Json, Plugins, ZooFile
from transferzoo.cli.output import log, log_table, progress_bar, show_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.sync.download_plan import DownloadResult, PlannedDownload
    from transferzoo.sync.items import Item
    from transferzoo.zoo.reader import Zoo


def pull(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME…",
            autocompletion=complete_pulls,
            help="Models, patterns, data sets, hf-hub:OWNER/NAME[@REVISION], hf-pack:OWNER/NAME[@REVISION], "
            "surrogates, targets or all.",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Only its models and images.", autocompletion=complete_datasets, show_default="all data sets"
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which images of a data set.", show_default="those that are attacked")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=32, help="Downloads at a time.")] = 4,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be downloaded, and stop.")
    ] = False,
    json: Json = False,
    zoo: ZooFile = None,
    plugin: Plugins = None,
) -> None:
    """Download models, images and packs, so that attacks need no network; the same command goes on."""
    from transferzoo.sync.download_plan import bytes_to_download, free_space, require_space
    from transferzoo.sync.items import select_items
    from transferzoo.zoo.reader import load_zoo

    records = load_zoo(zoo)
    items = select_items(records, names, dataset, split, log)
    plans = _plan([item for item in items if item.state != "train"], jobs)
    missing = bytes_to_download(plans)
    if not json:
        _say_plan(plans, missing)
    for item in items:
        if item.state == "train":
            log(
                f"Nobody has published {item.name}: train it with `transferzoo train --recipe {item.recipe}`."
            )
    failed = [(plan.item.name, plan.error) for plan in plans if plan.error]
    results: list[DownloadResult] = []
    if any(plan.pending for plan in plans) and not dry_run:
        require_space(missing)
        results = _download(plans, missing, jobs)
        failed += [(one.plan.item.name, one.error) for one in results if one.error]
    if json:
        show_json(
            {
                "items": [_record(plan) for plan in plans],
                "missing": missing,
                "free": free_space()[0],
                "fetched": [one.plan.item.name for one in results if not one.error],
                "failed": {name: str(error) for name, error in failed},
            }
        )
    _say_what_lacks(records, [one.plan.item for one in results if not one.error])
    for _, error in failed:
        log(f"Error: {error}")
    if failed:
        raise typer.Exit(1)


def _plan(items: Sequence[Item], jobs: int) -> list[PlannedDownload]:
    from transferzoo.sync.download_plan import plan_downloads

    with progress_bar() as bar:
        task = bar.add_task("asking the Hub", total=1, note="")
        return plan_downloads(items, jobs, lambda done, total: bar.update(task, completed=done, total=total))


def _say_plan(plans: Sequence[PlannedDownload], missing: int) -> None:
    """Tell what is wanted, what of it is here, and how much is to come."""
    from transferzoo.base.table import Table
    from transferzoo.cli.tables import render
    from transferzoo.sync.download_plan import format_bytes, free_space

    rows = [
        (
            one.item.name,
            _state(one),
            format_bytes(one.size) if one.files else "–",
            one.item.licence,
            _marks(one.item),
        )
        for one in plans
    ]
    free, place = free_space()
    caption = f"{format_bytes(missing)} to download; {format_bytes(free)} free on the disk of {place}."
    if not any(plan.pending for plan in plans):
        caption = "Nothing to download."
    if rows:
        log_table(
            render(Table("to pull", ("name", "state", "size", "licence", ""), tuple(rows), caption), 120)
        )


def _state(plan: PlannedDownload) -> str:
    from transferzoo.sync.download_plan import format_bytes

    if plan.error:
        return "unavailable"
    if not plan.pending:
        return "here" if plan.files else plan.item.state
    return "to download" if plan.missing == plan.size else f"{format_bytes(plan.missing)} to download"


def _marks(item: Item) -> str:
    marks = {"non-commercial": item.non_commercial, "pickle": item.pickle}
    origin = [item.web.url] if item.web else []
    return ", ".join([*origin, *(mark for mark, holds in marks.items() if holds)])


def _record(plan: PlannedDownload) -> dict[str, Any]:
    """Return a plan in JSON, as it was before the download."""
    item, files = plan.item, plan.item.files
    where = {"repo": files.repo, "revision": files.revision} if files else {}
    where |= {"url": item.web.url} if item.web else {}
    return {
        "name": item.name,
        "kind": item.kind,
        "state": item.state,
        "licence": item.licence,
        "non_commercial": item.non_commercial,
        "pickle": item.pickle,
        **where,
        "commit": plan.commit or None,
        "bytes": plan.size,
        "missing": plan.missing,
        "files": [file._asdict() for file in plan.files],
    }


def _download(plans: Sequence[PlannedDownload], missing: int, jobs: int) -> list[DownloadResult]:
    from transferzoo.sync.download_plan import download, format_bytes

    results: list[DownloadResult] = []
    with progress_bar() as bar:
        task = bar.add_task("downloading, MB", total=missing / 1e6, note="")

        def advance(count: int) -> None:
            bar.update(task, completed=count / 1e6, note=f"{len(results)} done")

        for one in download(plans, jobs, advance):
            results.append(one)
            if bar.disable and not one.error:
                log(f"{one.plan.item.name}: {format_bytes(one.plan.missing)}")
    well = [one for one in results if not one.error]
    log(f"Downloaded {len(well)} of {len(results)} ({format_bytes(sum(one.plan.missing for one in well))}).")
    return results


def _say_what_lacks(zoo: Zoo, items: Sequence[Item]) -> None:
    """Tell which images an attack on the models would still have to download."""
    from transferzoo.sync.inventory import state_of_images

    for name in dict.fromkeys(item.name.partition("/")[0] for item in items if item.kind == "model"):
        spec = zoo.datasets.get(name)
        if spec and state_of_images(spec, spec.attack.split) == "hub":
            log(f"An attack on {name} needs its images too: `transferzoo pull {name}`.")
