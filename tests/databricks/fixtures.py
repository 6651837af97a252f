"""Fixtures: an account with as many workspaces as a test asks for.

def test_x(databricks_account):
    account = databricks_account()
    west, east = account.workspace("west", metastore="m1"), account.workspace("east", metastore="m2")
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient

from tests.databricks import pool
from tests.databricks.pool import Pool
from tests.databricks.state import ADMIN, Account

AccountFactory = Callable[[], Account]


@pytest.fixture(scope="session")
def databricks_pool(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """This worker's running workspaces."""
    folder = tmp_path_factory.mktemp("databricks-")
    running = Pool(folder, pool.make_template(template, folder / "template.db"))
    yield running
    running.stop()


@pytest.fixture
def databricks_account(databricks_pool: Pool) -> AccountFactory:
    """The account of this test: only its admin and no workspace at first. Every call gives the same one."""
    databricks_pool.reset()
    return lambda: databricks_pool.account


@dataclass(frozen=True)
class AnyWorkspace:
    """A workspace that may be a real one: tests know no more of it than its address and how to be let in."""

    url: str
    user: str
    environment: Mapping[str, str]
    headers: Callable[[], Mapping[str, str]]


def _live() -> AnyWorkspace:
    """The workspace of the caller's environment."""
    kept = {key: value for key, value in os.environ.items() if key.startswith(("DATABRICKS_", "ARM_"))}
    client = WorkspaceClient()
    return AnyWorkspace(client.config.host, client.current_user.me().user_name or "", kept, client.config.authenticate)


@pytest.fixture(params=["emulator", pytest.param("live", marks=pytest.mark.live_databricks)])
def any_workspace(request: pytest.FixtureRequest) -> AnyWorkspace:
    """The emulator, and the real workspace of the environment where DATABRICKS_HOST is set."""
    if request.param == "live":
        if not os.environ.get("DATABRICKS_HOST"):
            pytest.skip("needs a real workspace: DATABRICKS_HOST is not set")
        return _live()
    make: AccountFactory = request.getfixturevalue("databricks_account")
    workspace = make().workspace("a")
    environment = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    return AnyWorkspace(workspace.url, ADMIN, environment, workspace.headers)
