"""Fixtures that several files of tests use, for the processes that run tests: they import PyTorch."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from os import environ
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch

from conftest import Result
from helpers import hub_zoo
from helpers.browser import Browser, browsing, chromium
from helpers.checkpoints import data_folder
from helpers.hub_server import COMMIT, connect, running
from helpers.stripes import TINY, config, draw, spec
from transferzoo.base import plugins
from transferzoo.models.optimize import best_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

    from helpers.hub_server import Hub
    from transferzoo.minimizers import Minimizer
    from transferzoo.zoo.schema import DatasetSpec

# The first gradient of a process counts its devices. Libraries that a test imports later may name more, and
# where there are any but the CPU, no process that is forked afterwards can take a gradient.
torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(scope="session", autouse=True)
def any_processor() -> Iterator[None]:
    """Fail what asks whether the machine's processor multiplies in bfloat16, unless by `bf16_support`.

    So a suite that passes on one processor has read nothing that another would answer otherwise.
    """

    def asked(device: torch.device) -> str:
        pytest.fail(f"this reads what the machine's {device} can do: use the fixture bf16_support")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transferzoo.models.optimize.best_precision", asked)
        yield


@pytest.fixture(autouse=True)
def no_plugins_kept() -> Iterator[None]:
    """Forget the plug-ins that a test has loaded into this process: another's may have the same names."""
    before, files = dict(plugins._owners), dict(plugins._files)
    yield
    for plugin in {one for name, one in plugins._owners.items() if one and name not in before}:
        plugins._forget(plugin)
    plugins._files.clear()
    plugins._files.update(files)


def set_bf16(patch: pytest.MonkeyPatch, able: bool) -> None:
    """Be a processor that multiplies in bfloat16, or one that does not."""
    patch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    patch.setattr("transferzoo.models.optimize.best_precision", best_precision)


@pytest.fixture(params=[True, False], ids=["bf16", "no-bf16"])
def bf16_support(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test on a processor that multiplies in bfloat16, and on one that does not."""
    set_bf16(monkeypatch, request.param)
    return bool(request.param)


@pytest.fixture(scope="session")
def torchattacks() -> ModuleType:
    """Return torchattacks, or skip the test; with TRANSFERZOO_NO_SKIPS=1, as in CI, it must be there.

    It is in no extra, because it pins requests and urllib3 to versions of 2020.
    """
    if environ.get("TRANSFERZOO_NO_SKIPS") == "1":
        return import_module("torchattacks")
    reason = "compares with torchattacks: pip install --no-deps torchattacks==3.5.1"
    return cast("ModuleType", pytest.importorskip("torchattacks", reason=reason))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: tiny tensors on a busy machine wait for the others otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a cache of its own: archives, converted weights and clean predictions lie in it."""
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def quick_retries(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ask served models without a token, of which nothing is kept, and again after short pauses."""
    from transferzoo.models import served
    from transferzoo.models.sources import served_model

    monkeypatch.delenv(served.TOKEN, raising=False)
    monkeypatch.setattr(served, "PAUSES", (0.01, 0.01, 0.01, 0.01))
    yield
    served_model._metadata.cache_clear()


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands in this process fork none, which has threads of pytest; started ones fork as they do."""
    for module in ("evaluation.run", "training.adapted"):
        monkeypatch.setattr(f"transferzoo.{module}.usual_jobs", lambda: 1)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let dry runs of trainings take for granted that a step takes a quarter of a second."""
    monkeypatch.setattr("transferzoo.training.estimate.step_seconds", lambda *_: 0.25)


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Result]]:
    """Run the real entry point in this process, in `tmp_path`."""
    from transferzoo.cli.app import main

    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["transferzoo", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return Result(code if isinstance(code, int) else 0, printed.out, printed.err)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with 60 of the built-in images, for `--data`."""
    return data_folder(tmp_path_factory.mktemp("few"), range(60))


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder for commands in processes of their own, in one thread each, with the built-in zoo."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("TRANSFERZOO_ZOO", raising=False)
        yield tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the same large images as class folders and as shards."""
    from helpers.streams import write_places

    return write_places(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    """Return the made-up data set of stripes.py."""
    return spec(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, stripes: DatasetSpec) -> Path:
    """A model of the stripes."""
    from transferzoo.training.trainer import train

    folder = tmp_path_factory.mktemp("models") / "source"
    train(config(epochs=3), stripes, draw(160, 0), None, folder)
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of timm's own, as timm saves it: RGB, 32 pixels, five classes."""
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("timm") / "foreign"
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=5, **TINY)
    reads = {"input_size": (3, 32, 32), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    save_for_hf(
        model, str(folder), model_config={"pretrained_cfg": reads}, model_args=TINY, safe_serialization=True
    )
    return folder


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Return what every step was made with: learning rates of all groups (one value), share of the radius."""
    from transferzoo.minimizers import Minimizer

    seen: list[tuple[float, float]] = []
    step = Minimizer.step

    def spy(self: Minimizer, *closures: Any) -> Tensor:
        (rate,) = {group["lr"] for group in self.optimizer.param_groups}
        seen.append((rate, self.rho_factor))
        return step(self, *closures)

    monkeypatch.setattr(Minimizer, "step", spy)
    return seen


# The Hub of the tests that pull


@pytest.fixture(scope="module")
def served(few: Path) -> dict[str, bytes]:
    """Return what that Hub holds."""
    return hub_zoo.contents(next(few.rglob("*.parquet")).read_bytes())


@pytest.fixture
def hub(served: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Return a Hub that this process asks, with an empty cache, and a zoo file that names what it has."""
    (tmp_path / "mine.yaml").write_text(hub_zoo.MINE.replace("COMMIT", COMMIT))
    monkeypatch.setenv("TRANSFERZOO_ZOO", str(tmp_path / "mine.yaml"))
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    with running(served) as found:
        connect(monkeypatch, found, tmp_path / "hf")
        yield found


@pytest.fixture
def pull(cli: Callable[..., Result], hub: Hub) -> Callable[..., Result]:
    """Run `transferzoo pull --dataset twin`."""
    return lambda *arguments: cli("pull", *arguments, "--dataset", "twin")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it tests are skipped, and TRANSFERZOO_CHROMIUM names one that is not on the path."""
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with browsing(program) as started:
        yield started
