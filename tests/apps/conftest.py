"""Fixtures of the tests of apps: a workspace of the emulator; a team's server and its bundle, made once."""

from dataclasses import asdict
from pathlib import Path

import pytest

from tests import servers
from tests.apps import dev
from tests.apps.dev import Dev, Team
from tests.conftest import ServerPool, Tool, once
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import Account, Workspace
from tests.rest import Json
from tests.servers import Server, Snapshot


@pytest.fixture
def account(databricks_account: AccountFactory) -> Account:
    return databricks_account()


@pytest.fixture
def workspace(account: Account) -> Workspace:
    return account.workspace("a", metastore="m1")


@pytest.fixture(scope="session")
def team_made(shared_folder: Path, template: Path, server_pool: ServerPool) -> Dev:
    """What the team's server holds; its content and bundle lie in `shared_folder`."""

    def make(folder: Path) -> Json:
        server = server_pool("source")
        servers.reset(server, Snapshot(template))
        made = dev.fill(server, folder.with_suffix(".work"))
        servers.photograph(server, folder)
        tool = Tool(folder.with_suffix(".home"))
        tool("export-all", "--output-dir", folder / "bundle", "--tracking-uri", server.url).expect(0)
        return asdict(made)

    found = once(shared_folder, "team", make)
    return Dev(**{**found, "runs": tuple(found["runs"])})


@pytest.fixture
def team(team_made: Dev, shared_folder: Path, empty_source: Server) -> Team:
    """The team's server, running, and the bundle of it."""
    folder = shared_folder / "team"
    servers.reset(empty_source, Snapshot(folder / "mlflow.db", folder / "artifacts"))
    return Team(team_made, empty_source, folder / "bundle")
