"""What `transferzoo push` sees before it sends anything, and what it says afterwards."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub.errors import HfHubHTTPError

from helpers.hub_server import Hub, User, connect, running
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.hub.sentences import translating
from transferzoo.models import checkpoint
from transferzoo.models.recipe_file import note_images
from transferzoo.sync.licences import LICENCES, check_licence, check_repo
from transferzoo.sync.push import plan_upload
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),  # the client's own
]
TOKEN = "hf_secretsecretsecret"
MODEL = load_zoo().models["fashion-mnist/resnet50-lsam"].folder
PUSH = ("push", "./mine", "--yes", "--licence", "mit", "--repo", "someone/mine")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as found:
        found.users[TOKEN] = User("someone")
        yield found


@pytest.fixture
def run(hub: Hub, cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    shutil.copytree(MODEL, tmp_path / "mine")
    connect(monkeypatch, hub, tmp_path / "hub", HF_TOKEN=TOKEN)
    return cli


def change(tmp_path: Path) -> None:
    """Let the next push differ from the last one."""
    file = tmp_path / "mine" / checkpoint.RECIPE
    recipe = json.loads(file.read_text())
    file.write_text(json.dumps({**recipe, "seconds": recipe["seconds"] + 1}))


def pulls(hub: Hub) -> list[str]:
    return [ref for ref in hub.repositories["someone/mine"].refs if ref.startswith("refs/pr/")]


@pytest.mark.parametrize(
    "name", ["me/x/y", "me/a b", "me/..", "me/x.git", "me/a--b", "me/" + "x" * 99, "me/-x"]
)
def test_names_that_no_repository_can_have(name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be the name of a repository: expected OWNER/NAME"):
        check_repo(name)


@pytest.mark.parametrize(
    ("licence", "meant"), [("MIT", "mit"), ("apache2", "apache-2.0"), ("[mit", "mit"), ("bogus", "")]
)
def test_licences_that_the_hub_does_not_know(licence: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown licence '.*{'did you mean ' + meant if meant else ''}"):
        check_licence(licence)


def test_licences_of_the_zoo_are_known() -> None:
    assert {model.licence for model in load_zoo().models.values()} - {"MIT"} <= LICENCES


@pytest.mark.parametrize("options", [("--repo", "someone/a b"), ("--licence", "MIT"), ("--licence", "[mit")])
def test_nothing_is_sent_of_what_would_be_refused(hub: Hub, run: Run, options: tuple[str, str]) -> None:
    for dry in ((), ("--dry-run",)):
        done = run(*PUSH, *options, *dry)
        assert (done.code, done.out) == (2, "")
    assert not hub.repositories


def test_the_same_pull_request_is_not_opened_twice(hub: Hub, run: Run, tmp_path: Path) -> None:
    request = (*PUSH, "--create-pr", "--json")
    first, again = (json.loads(run(*request).out) for _ in range(2))
    assert pulls(hub) == ["refs/pr/1"]
    assert again == {**first, "changed": False}
    change(tmp_path)
    assert json.loads(run(*request).out)["url"].endswith("/discussions/2")
    hub.repositories["someone/mine"].closed |= {1, 2}
    assert json.loads(run(*request).out)["changed"]
    assert len(pulls(hub)) == 3


def test_a_tag_that_is_taken_is_seen_before_the_commit(hub: Hub, run: Run, tmp_path: Path) -> None:
    tagged = (*PUSH, "--tag", "v1")
    assert run(*tagged).code == run(*tagged).code == 0
    before = dict(hub.repositories["someone/mine"].refs)
    change(tmp_path)
    done = run(*tagged)
    assert (done.code, done.out) == (1, "")
    assert "the tag 'v1' of someone/mine is at another commit: expected a tag that is free" in done.err
    assert hub.repositories["someone/mine"].refs == before


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ((), "hf-hub:someone/mine "),
        (("--revision", "second"), "hf-hub:someone/mine@second "),
        (("--create-pr",), "hf-hub:someone/mine@{commit} "),
    ],
)
def test_the_command_at_the_end_names_what_was_sent(
    hub: Hub, run: Run, options: tuple[str, ...], place: str
) -> None:
    done = run(*PUSH, *options)
    assert done.code == 0, done.err
    commits = hub.repositories["someone/mine"].refs
    assert f"--surrogate {place.format(commit=commits.get('refs/pr/1'))}--targets all" in done.err


def test_the_card_names_the_images_that_were_used(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "mine")
    plan: dict[str, Any] = {"licence": "mit", "runs": tmp_path}
    official = plan_upload(load_zoo(), tmp_path / "mine", "a/b", **plan).card
    assert "datasets:\n- zalando-datasets/fashion_mnist" in official
    assert "| training images | 60000 |" in official
    note_images(tmp_path / "mine", "photos")
    own = plan_upload(load_zoo(), tmp_path / "mine", "a/b", **plan).card
    assert "zalando" not in own
    assert "| folder of the training images | photos |" in own


@pytest.mark.parametrize(
    ("status", "message", "sentence"),
    [
        (
            400,
            "Tag names cannot hold spaces",
            "refuses this for a/b (status 400): Tag names cannot hold spaces;",
        ),
        (413, "Too \x1b[31mlarge\n", "refuses this for a/b (status 413): Too [31mlarge;"),
        (422, "No such collection.", "refuses this for a/b (status 422): No such collection;"),
        (404, "", "knows nothing of a/b (status 404); check the name and HF_ENDPOINT."),
        (400, "", "the Hub could not be asked for a/b (status 400)"),
    ],
)
def test_a_refusal_of_the_hub_is_told_with_its_reason(status: int, message: str, sentence: str) -> None:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    with pytest.raises(TransferZooError) as caught, translating("a/b"):
        raise HfHubHTTPError("Bad request", response=response, server_message=message or None)
    assert sentence in str(caught.value)
    assert "\x1b" not in str(caught.value)
