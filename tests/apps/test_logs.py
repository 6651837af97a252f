"""`app logs`: the stream of an app's log, also where it breaks off, its token ends, or the app goes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from databricks.sdk.service.apps import App, AppAccessControlRequest, AppPermissionLevel

from mlflow_migration.apps import logs
from mlflow_migration.apps.logs import Line, Wanted, parsed
from mlflow_migration.apps.opened import Opened
from mlflow_migration.errors import AccessError, ForbiddenError
from mlflow_migration.server.address import Credentials
from tests.apps.looking import personal, relayed, tool_of
from tests.conftest import Tool
from tests.databricks.app_proxy import NAME, oauth
from tests.databricks.app_samples import Code, deployed, until
from tests.databricks.app_state import App as Held
from tests.databricks.app_state import apps
from tests.databricks.clients import sdk
from tests.databricks.state import Account, Workspace

NAMED = ("--name", NAME)
OWN = frozenset({"APP"})
# Says three lines and stays.
TALKER = """
import sys, time
for text in ("one", "two ERROR", "three"):
    print(text, flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture
def app(workspace: Workspace) -> Held:
    """An app that has said something; what the emulator holds of it."""
    deployed(sdk(workspace), Code({"app.py": TALKER}), App(name=NAME))
    held = apps(workspace).held[NAME]
    deadline = time.monotonic() + 30
    while not any(line.message == "three" for line in held.lines):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return held


@pytest.fixture
def tool(run_tool: Tool, account: Account, workspace: Workspace) -> Tool:
    return tool_of(run_tool, account, workspace)


def has(text: str) -> Callable[[list[str]], bool]:
    return lambda found: text in found


def more_than(count: int) -> Callable[[int], bool]:
    return lambda found: found > count


class Reading:
    """A log that is followed in a thread: what was given out, and how it ended."""

    def __init__(self, opened: Opened, wanted: Wanted) -> None:
        self.lines: list[Line] = []
        self.error: Exception | None = None
        self._opened = opened
        self._wanted = wanted
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            endpoint = self._opened.endpoint(self._opened.head())
            for line in logs.lines(endpoint, self._wanted, self._opened.require_logs):
                self.lines.append(line)
        except (AccessError, ForbiddenError) as error:
            self.error = error

    def texts(self) -> list[str]:
        return [line.message for line in self.lines]

    def until(self, met: Callable[[list[str]], bool], seconds: float = 40) -> list[str]:
        deadline = time.monotonic() + seconds
        while not met(self.texts()):
            assert time.monotonic() < deadline, (self.texts(), self.error)
            time.sleep(0.05)
        return self.texts()

    def end(self, seconds: float = 40) -> Exception | None:
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        return self.error


@contextmanager
def following(account: Account, workspace: Workspace, wanted: Wanted, *groups: str) -> Iterator[Reading]:
    credentials = Credentials(databricks=(oauth(account, workspace, *groups),))
    with Opened("databricks", NAME, credentials) as opened:
        yield Reading(opened, wanted)


def test_the_lines_there_are_come_with_time_and_source_and_it_ends(app: Held, tool: Tool) -> None:
    found = tool("app", "logs", *NAMED, "--json").expect(0).json["lines"]
    own = [line for line in found if line["source"] == "APP"]
    assert [line["message"] for line in own] == ["one", "two ERROR", "three"]
    assert all(line["time"].endswith("Z") for line in found)
    assert any(line["source"] == "SYSTEM" for line in found)
    text = tool("app", "logs", *NAMED, "--tail", "1").expect(0).stdout
    assert len(text.splitlines()) == 1 and text.split()[1] in {"APP", "SYSTEM"}


def test_search_source_and_tail_narrow_it(app: Held, tool: Tool) -> None:
    found = tool("app", "logs", *NAMED, "--search", "error", "--json").expect(0).json["lines"]
    assert [line["message"] for line in found] == ["two ERROR"]
    told = tool("app", "logs", *NAMED, "--source", "system", "--json").expect(0).json["lines"]
    assert {line["source"] for line in told} == {"SYSTEM"}
    last = tool("app", "logs", *NAMED, "--source", "APP", "--tail", "2", "--json").expect(0).json["lines"]
    assert [line["message"] for line in last] == ["two ERROR", "three"]


def test_what_no_line_has_ends_soon_and_empty(app: Held, workspace: Workspace, tool: Tool) -> None:
    apps(workspace).keep_alive_seconds = 0.3
    assert tool("app", "logs", *NAMED, "--search", "no such text", "--json").expect(0).json["lines"] == []


@pytest.mark.slow
def test_following_goes_on_for_its_time(app: Held, tool: Tool) -> None:
    stop = threading.Event()

    def talk() -> None:
        number = 0
        while not stop.wait(0.2):
            app.log("APP", f"later {number}")
            number += 1

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        began = time.monotonic()
        outcome = tool("app", "logs", *NAMED, "--duration", "5", "--source", "APP").expect(0)
        assert time.monotonic() - began < 15
    finally:
        stop.set()
        thread.join()
    messages = [line.partition("APP  ")[2] for line in outcome.stdout.splitlines()]
    assert messages[:3] == ["one", "two ERROR", "three"]
    later = [int(text.split()[1]) for text in messages[3:]]
    assert later == [*range(len(later))] and len(later) > 3


@pytest.mark.slow
def test_an_endless_document_is_a_usage_error(tool: Tool) -> None:
    tool("app", "logs", *NAMED, "--follow", "--json").expect(2)


@pytest.mark.slow
def test_a_token_that_ends_is_renewed_and_no_line_comes_twice(
    app: Held, account: Account, workspace: Workspace
) -> None:
    with following(account, workspace, Wanted(follow=True, seconds=25, sources=OWN)) as reading:
        reading.until(lambda found: found[-1:] == ["three"])
        for number in range(3):
            before = len(account.issued)
            account.expire_tokens()
            until(lambda: len(account.issued), more_than(before))
            app.log("APP", f"after {number}")
            reading.until(has(f"after {number}"))
        assert reading.texts() == ["one", "two ERROR", "three", "after 0", "after 1", "after 2"]


@pytest.mark.slow
def test_a_cut_connection_is_made_again_and_what_was_said_meanwhile_is_not_lost(
    app: Held, account: Account, workspace: Workspace
) -> None:
    with relayed(app.url) as relay:
        app.url = relay.url
        with following(account, workspace, Wanted(follow=True, seconds=25, sources=OWN)) as reading:
            reading.until(lambda found: found[-1:] == ["three"])
            relay.cut()
            app.log("APP", "meanwhile")
            app.log("APP", "meanwhile")
            found = reading.until(lambda found: found.count("meanwhile") == 2)
            assert found == ["one", "two ERROR", "three", "meanwhile", "meanwhile"]
            assert relay.connections > 1


@pytest.mark.slow
def test_whoever_may_only_use_the_app_does_not_see_its_log(app: Held, account: Account, workspace: Workspace) -> None:
    account.add_group("readers")
    sdk(workspace).apps.update_permissions(
        NAME,
        access_control_list=[
            AppAccessControlRequest(group_name="readers", permission_level=AppPermissionLevel.CAN_USE)
        ],
    )
    with following(account, workspace, Wanted(), "readers") as reading:
        error = reading.end()
    assert isinstance(error, ForbiddenError) and "CAN_MANAGE" in error.hint


@pytest.mark.slow
def test_a_personal_token_gets_no_log(app: Held, run_tool: Tool, account: Account, workspace: Workspace) -> None:
    told = personal(run_tool, workspace, account)("app", "logs", *NAMED).expect(3)
    assert "OAuth" in told.stderr


@pytest.mark.slow
def test_following_ends_when_the_app_is_stopped_or_gone(app: Held, account: Account, workspace: Workspace) -> None:
    with following(account, workspace, Wanted(follow=True)) as reading:
        reading.until(lambda found: "three" in found)
        sdk(workspace).apps.delete(NAME)
        error = reading.end()
    assert isinstance(error, AccessError)
    assert "isn't running any more" in error.what or "no app" in error.what


@pytest.mark.slow
def test_control_characters_of_a_line_do_not_reach_the_terminal(app: Held, tool: Tool) -> None:
    app.log("APP", "red \x1b[31mtext\x07")
    shown = tool("app", "logs", *NAMED, "--search", "red").expect(0).stdout
    assert "\x1b" not in shown and "\\x1b[31mtext" in shown


@pytest.mark.slow
def test_a_frame_is_a_line_whatever_it_is() -> None:
    assert parsed('{"source": "app", "timestamp": 1.5, "message": "x\\n"}') == Line("x", "APP", 1.5)
    assert parsed('{"message": "x"}').moment == ""
    for text in ("plain text", "[1, 2]", "{broken", '{"other": 1}', "7"):
        assert parsed(text) == Line(text)
    assert Line("x", "APP", 0.25).moment == "1970-01-01T00:00:00.250Z"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["1e30", "1763768000000", "NaN", "1" + "0" * 400, '"today"'])
def test_a_line_with_a_time_that_is_none_ends_no_reading(moment: str) -> None:
    line = parsed(f'{{"message": "x", "timestamp": {moment}}}')
    assert (line.message, line.moment) == ("x", "")


@pytest.mark.slow
def test_a_line_that_is_nested_too_deep_for_json_is_text() -> None:
    assert parsed("[" * 100_000).message.startswith("[[[")
