"""Registered models between an open-source server and Unity Catalog, judged by MLflow's client and plain requests."""

from pathlib import Path

import pytest

from tests import servers
from tests.conftest import ServerPool, Tool, once
from tests.databricks import catalogue
from tests.databricks.clients import environment
from tests.databricks.fixtures import AccountFactory
from tests.databricks.registry_samples import Made, catalog, loads, make_churn, users, writes
from tests.databricks.state import Account, Workspace
from tests.rest import Json
from tests.servers import Server, Snapshot

ALL = ("--models", "all")


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


def to_catalog(tool: Tool, source: Server, *options: str, code: int = 0, to: str = "databricks-uc://a") -> dict:
    ends = ("--src-mlflow-uri", source.url, "--dst-mlflow-uri", to)
    return tool("copy-models", *ALL, *ends, "--json", *options).expect(code).json


def test_models_arrive_in_unity_catalog_whole_and_load_by_alias_and_a_second_run_writes_nothing(
    churn: Made, empty_source: Server, in_catalog: Tool, workspace: Workspace
) -> None:
    how = ("--prefix", "main.ml.", "--stages-to-aliases", "Production=champion,Staging=challenger")
    to_catalog(in_catalog, empty_source, *how)
    model = catalog(workspace, "registered-models/get", name="main.ml.churn")["registered_model"]
    assert model["description"] == "who leaves"
    assert users(model) == {"team": "growth"}
    aliases = {alias["alias"]: alias["version"] for alias in model["aliases"]}
    assert aliases == {"best": "2", "champion": "2", "challenger": "1"}
    found = catalog(workspace, "model-versions/search", filter="name = 'main.ml.churn'")["model_versions"]
    assert sorted((each["version"], each["status"]) for each in found) == [
        ("1", "READY"),
        ("2", "READY"),
        ("4", "READY"),
    ]
    second = catalog(workspace, "model-versions/get", name="main.ml.churn", version="2")["model_version"]
    assert (second["description"], users(second)) == ("the good one", {"checked": "yes"})
    assert second["run_id"] not in churn.runs.values()
    assert loads("models:/main.ml.churn@best", environment(workspace)) == [3.0, True]
    stored = workspace.metastore.folder / "Models" / "main" / "ml" / "churn" / "2"
    names = [path.name for path in workspace.metastore.folder.rglob("*") if path.is_file()]
    assert "MLmodel" in names
    assert "registered_model_meta" not in names
    assert stored
    workspace.requests.clear()
    to_catalog(in_catalog, empty_source, *how)
    assert writes(workspace) == []
