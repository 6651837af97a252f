"""Fixtures of the tests of registries: a model of an open-source server, workspaces, and the tool that knows them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import servers
from tests.conftest import Outcome, ServerPool, Tool, once
from tests.databricks import catalogue
from tests.databricks.fixtures import AccountFactory
from tests.databricks.registry_samples import Made, make_churn
from tests.databricks.state import Account, Workspace
from tests.rest import Json
from tests.servers import Server, Snapshot

Copy = Callable[..., Outcome]


@pytest.fixture(scope="session")
def seeded_churn(shared_folder: Path, template: Path, server_pool: ServerPool) -> tuple[Snapshot, Made]:
    """What `make_churn` makes, made once."""

    def make(folder: Path) -> Json:
        server = server_pool("source")
        servers.reset(server, Snapshot(template))
        work = folder.with_suffix(".work")
        work.mkdir()
        made = make_churn(server, work)
        servers.photograph(server, folder)
        return dict(made.runs)

    runs = once(shared_folder, "churn", make)
    folder = shared_folder / "churn"
    return Snapshot(folder / "mlflow.db", folder / "artifacts"), Made(runs)


@pytest.fixture
def churn(seeded_churn: tuple[Snapshot, Made], empty_source: Server) -> Made:
    servers.reset(empty_source, seeded_churn[0])
    return seeded_churn[1]


@pytest.fixture
def account(databricks_account: AccountFactory) -> Account:
    return databricks_account()


@pytest.fixture
def workspace(account: Account) -> Workspace:
    workspace = account.workspace("a", metastore="m1")
    catalogue.make(workspace.metastore, "main.ml")
    return workspace


@pytest.fixture
def in_catalog(run_tool: Tool, account: Account) -> Tool:
    return Tool(run_tool.home, {**run_tool.env, **account.environment()})


@pytest.fixture
def copy_models(in_catalog: Tool) -> Copy:
    """copy-models of all models from one address to another."""

    def run(source: str, target: str, *options: str) -> Outcome:
        ends = ("--src-mlflow-uri", source, "--dst-mlflow-uri", target)
        return in_catalog("copy-models", "--models", "all", *ends, "--json", *options)

    return run
