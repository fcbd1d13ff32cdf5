"""`transferzoo pull`: models and images from the Hub to this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.cli.options import Json, ZooFile, complete_datasets, complete_names
from transferzoo.cli.output import log, log_table, progress_bar, show_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.sync.download_plan import Delivery, Order
    from transferzoo.sync.inventory import Item
    from transferzoo.zoo.reader import Zoo


def pull(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME…",
            autocompletion=complete_names,
            help="Models, patterns, data sets, hf-hub:OWNER/NAME[@REVISION], surrogates, targets or all.",
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
) -> None:
    """Download models and images of the Hub, so that attacks need no network; the same command goes on."""
    from transferzoo.sync.download_plan import require_room, room, to_come
    from transferzoo.sync.inventory import chosen
    from transferzoo.zoo.reader import load_zoo

    records = load_zoo(zoo)
    items = chosen(records, names, dataset, split)
    orders = _survey([item for item in items if item.state != "train"], jobs)
    missing = to_come(orders)
    if not json:
        _say_plan(orders, missing)
    for item in items:
        if item.state == "train":
            log(
                f"Nobody has published {item.name}: train it with `transferzoo train --recipe {item.recipe}`."
            )
    failed = [(order.item.name, order.error) for order in orders if order.error]
    came: list[Delivery] = []
    if any(order.open for order in orders) and not dry_run:
        require_room(missing)
        came = _fetch(orders, missing, jobs)
        failed += [(one.order.item.name, one.error) for one in came if one.error]
    if json:
        show_json(
            {
                "items": [_record(order) for order in orders],
                "missing": missing,
                "free": room()[0],
                "fetched": [one.order.item.name for one in came if not one.error],
                "failed": {name: str(error) for name, error in failed},
            }
        )
    _say_what_lacks(records, [one.order.item for one in came if not one.error])
    for _, error in failed:
        log(f"Error: {error}")
    if failed:
        raise typer.Exit(1)


def _survey(items: Sequence[Item], jobs: int) -> list[Order]:
    from transferzoo.sync.download_plan import survey

    with progress_bar() as bar:
        task = bar.add_task("asking the Hub", total=1, note="")
        return survey(items, jobs, lambda done, total: bar.update(task, completed=done, total=total))


def _say_plan(orders: Sequence[Order], missing: int) -> None:
    """Tell what is wanted, what of it is here, and how much is to come."""
    from transferzoo.base.table import Table
    from transferzoo.cli.tables import render
    from transferzoo.sync.download_plan import amount, room

    rows = [
        (
            one.item.name,
            _state(one),
            amount(one.size) if one.files else "–",
            one.item.licence,
            _marks(one.item),
        )
        for one in orders
    ]
    free, place = room()
    caption = f"{amount(missing)} to download; {amount(free)} free on the disk of {place}."
    if not any(order.open for order in orders):
        caption = "Nothing to download."
    if rows:
        log_table(
            render(Table("to pull", ("name", "state", "size", "licence", ""), tuple(rows), caption), 120)
        )


def _state(order: Order) -> str:
    from transferzoo.sync.download_plan import amount

    if order.error:
        return "cannot be had"
    if not order.open:
        return "here" if order.files else order.item.state
    return "to download" if order.missing == order.size else f"{amount(order.missing)} to download"


def _marks(item: Item) -> str:
    marks = {"non-commercial": item.non_commercial, "pickle": item.pickle}
    return ", ".join(mark for mark, holds in marks.items() if holds)


def _record(order: Order) -> dict[str, Any]:
    """Return what is said of an order in JSON, as it was before the download."""
    item, need = order.item, order.item.need
    where = {"repo": need.repo, "revision": need.revision} if need else {}
    return {
        "name": item.name,
        "kind": item.kind,
        "state": item.state,
        "licence": item.licence,
        "non_commercial": item.non_commercial,
        "pickle": item.pickle,
        **where,
        "commit": order.commit or None,
        "bytes": order.size,
        "missing": order.missing,
        "files": [file._asdict() for file in order.files],
    }


def _fetch(orders: Sequence[Order], missing: int, jobs: int) -> list[Delivery]:
    from transferzoo.sync.download_plan import amount, fetch

    came: list[Delivery] = []
    with progress_bar() as bar:
        task = bar.add_task("downloading, MB", total=missing / 1e6, note="")

        def advance(count: int) -> None:
            bar.update(task, completed=count / 1e6, note=f"{len(came)} done")

        for one in fetch(orders, jobs, advance):
            came.append(one)
            if bar.disable and not one.error:
                log(f"{one.order.item.name}: {amount(one.order.missing)}")
    well = [one for one in came if not one.error]
    log(f"Downloaded {len(well)} of {len(came)} ({amount(sum(one.order.missing for one in well))}).")
    return came


def _say_what_lacks(zoo: Zoo, items: Sequence[Item]) -> None:
    """Tell which images an attack on the models would still have to download."""
    from transferzoo.sync.inventory import state_of_images

    for name in dict.fromkeys(item.name.partition("/")[0] for item in items if item.kind == "model"):
        spec = zoo.datasets.get(name)
        if spec and state_of_images(spec, spec.attack.split) == "hub":
            log(f"An attack on {name} needs its images too: `transferzoo pull {name}`.")
