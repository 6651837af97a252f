"""What goes wrong at a workspace costs no more than it must, and is told."""

import contextlib
import re
from pathlib import Path

import pytest
import requests

from mlflow_migration.server.address import Credentials
from mlflow_migration.server.live import Server as Live
from mlflow_migration.server.rest import Rest
from tests import everything, rest, seeding, servers
from tests.conftest import Run, Tool
from tests.databricks.clients import mlflow_script
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.registry_samples import own
from tests.databricks.state import ADMIN, Account, Workspace
from tests.databricks.test_place import places
from tests.rest import Api
from tests.servers import Server

TRACED = """
with mlflow.start_span("root") as span:
    span.set_inputs({"x": 1})
result = True
"""


@pytest.fixture
def account(databricks_account: AccountFactory, monkeypatch: pytest.MonkeyPatch) -> Account:
    """The account, its profiles known to commands of this process."""
    found = databricks_account()
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    return found


def experiments(workspace: Workspace) -> dict[str, str]:
    """Names and ids, as a workspace shows them."""
    answer = requests.get(
        f"{workspace.url}/api/2.0/mlflow/experiments/search",
        {"view_type": "ALL", "max_results": "1000"},
        headers=workspace.headers(),
        timeout=60,
    )
    return {one["name"]: one["experiment_id"] for one in answer.json().get("experiments", [])}


def test_a_busy_slow_and_broken_workspace_gets_everything_once(source: Server, account: Account, run_here: Run) -> None:
    workspace = account.workspace("a")
    for fault in (
        Fault("experiments/create", status=503, performed=True),
        Fault("runs/create", status=429, times=3, retry_after=0.1),
        Fault("runs/create", status=503, times=1, performed=True, after=3),
        Fault("log-batch", status=503, times=2, performed=True),
        Fault("PUT /api/2.0/fs/", status=503, times=2, performed=True),
        Fault("/api/2.0/", status=0, delay=0.3, times=5),
    ):
        workspace.faults.add(fault)
    command = ("copy-experiments", *places(source.url, "databricks://a"), "--json")
    report = run_here(*command).expect(0).json
    assert report["kinds"]["run"]["done"] == report["kinds"]["run"]["asked"]
    workspace.faults.clear()
    again = run_here(*command).expect(0).json
    assert again["kinds"]["run"]["same"] == report["kinds"]["run"]["asked"]
    assert len(experiments(workspace)) == report["kinds"]["experiment"]["asked"]


def test_one_experiment_that_is_refused_costs_only_itself(source: Server, account: Account, run_here: Run) -> None:
    workspace = account.workspace("a")
    command = ("copy-experiments", *places(source.url, "databricks://a"), "--json")
    run_here(*command).expect(0)
    workspace.faults.add(Fault(f"/fs/.*/Artifacts/{experiments(workspace)[f'/Users/{ADMIN}/one']}/", 403, times=0))
    workspace.faults.add(Fault("credentials-for-read", 403, times=0))
    workspace.faults.add(Fault("artifacts/list", 403, times=0))
    back = ("export-experiments", "--tracking-uri", "databricks://a", "--experiments", "all", "--json", "--output-dir")
    report = run_here(*back, "bundle-of-faults").json
    kinds = report["kinds"]["run"]
    assert 0 < kinds["failed"] < kinds["asked"], kinds
    assert kinds["done"] == kinds["asked"] - kinds["failed"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_kinds_that_a_workspace_lacks_are_told_and_can_be_waived(
    empty_source: Server, account: Account, run_here: Run
) -> None:
    everything.seed(empty_source)
    servers.execute(empty_source, "DELETE FROM registered_models")
    servers.execute(empty_source, "DELETE FROM model_versions")
    workspace = account.workspace("a")
    command = ("copy-all", *places(empty_source.url, "databricks://a")[:4], "--json")
    report = run_here(*command).expect(1).json
    kinds = ("webhook", "issue", "label_schema", "review_queue", "mcp_server", "gateway_endpoint", "scorer")
    for kind in (*kinds, "evaluation_dataset"):
        found = report["kinds"][kind]
        assert found["unsupported"] == found["asked"] > 0, (kind, found)
        rows = [row for row in report["rows"] if row["kind"] == kind and row["state"] == "unsupported"]
        assert all(row["reason"] for row in rows)
    lacking = re.compile(r"webhooks|gateway|mcp|issues|label-schemas|/review|scorers|datasets|3.0/mlflow/users")
    assert [path for _, path, _ in workspace.requests if lacking.search(path)] == []


def test_an_experiment_takes_no_place_of_a_folder_or_of_somebody_unknown(
    empty_source: Server, account: Account, run_here: Run
) -> None:
    workspace = account.workspace("a")
    with contextlib.closing(Api(empty_source.url)) as api:
        for name in ("taken", "fine", "taken/below", "/Users/nobody@example.com/x", ".."):
            api.post("experiments/create", name=name)
    body = {"path": f"/Users/{ADMIN}/taken"}
    requests.post(
        f"{workspace.url}/api/2.0/workspace/mkdirs", json=body, headers=workspace.headers(), timeout=60
    ).raise_for_status()
    report = run_here("copy-experiments", *places(empty_source.url, "databricks://a"), "--json").expect(1).json
    failed = {row["name"]: row["reason"] for row in report["rows"] if row["state"] == "failed"}
    assert set(failed) == {"taken", "/Users/nobody@example.com/x"}
    assert "directory is at /Users/" in failed["taken"]
    made = set(experiments(workspace))
    assert {f"/Users/{ADMIN}/fine", f"/Users/{ADMIN}/taken/below", f"/Users/{ADMIN}/%2E%2E"} <= made


def test_experiments_go_into_the_folder_that_is_asked_for_and_are_known_by_their_names(
    empty_source: Server, destination: Server, account: Account, run_here: Run, run_tool: Tool
) -> None:
    seeding.seed_small(empty_source)
    workspace = account.workspace("a")
    command = ("copy-experiments", *places(empty_source.url, "databricks://a"), "--dst-experiment-dir", "/Shared/team/")
    run_here(*command).expect(0)
    run_here(*command, "--json").expect(0)
    assert set(experiments(workspace)) == {"/Shared/team/Default", "/Shared/team/one", "/Shared/team/two/é"}
    run_here("verify", empty_source.url, "databricks://a", "--experiments", "all").expect(0)
    back = ("copy-experiments", *places("databricks://a", destination.url)[:4], "--experiments")
    run_here(*back, "/Shared/team/one,two/é").expect(0)
    with contextlib.closing(Api(destination.url)) as api:
        assert {one["name"] for one in rest.experiments(api)} == {"Default", "one", "two/é"}


def test_traces_in_tables_of_unity_catalog_are_told(account: Account, destination: Server, run_here: Run) -> None:
    workspace = account.workspace("a")
    with contextlib.closing(Api(workspace.url)) as api:
        api.session.headers.update(workspace.headers())
        tags = [{"key": "mlflow.experiment.databricksTraceDestinationPath", "value": "main.traces"}]
        api.post("experiments/create", name=f"/Users/{ADMIN}/traced", tags=tags)
        api.post("experiments/create", name=f"/Users/{ADMIN}/plain")
    places_ = places("databricks://a", destination.url)
    report = run_here("copy-experiments", *places_, "--json").expect(1).json
    (row,) = report["rows"]
    assert (row["kind"], row["state"]) == ("trace", "unsupported")
    assert "main.traces" in row["reason"]
    run_here("copy-experiments", *places_, "--allow-loss", "trace").expect(0)
    run_here("copy-experiments", *places_[:4], "--experiments", f"/Users/{ADMIN}/plain").expect(0)


def test_a_token_that_ends_in_the_middle_of_a_job_is_renewed(
    source: Server, account: Account, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = account.workspace("a")
    client = account.add_service_principal("ci", "admins")
    account.token_seconds = 1.5
    monkeypatch.setenv("MLFLOW_MIGRATION_DST_DATABRICKS_HOST", workspace.url)
    monkeypatch.setenv("MLFLOW_MIGRATION_DST_DATABRICKS_CLIENT_ID", client.client_id)
    monkeypatch.setenv("MLFLOW_MIGRATION_DST_DATABRICKS_CLIENT_SECRET", client.client_secret)
    workspace.faults.add(Fault("runs/create", status=0, delay=2, times=2))
    folder = ("--dst-experiment-dir", "/Shared/ci")
    command = ("copy-experiments", *places(source.url, "databricks"), *folder, "--json")
    report = run_here(*command).expect(0).json
    assert report["kinds"]["run"]["done"] == report["kinds"]["run"]["asked"]
    asked = [path for _, path, _ in workspace.requests]
    assert sum("well-known/databricks-config" in path for path in asked) == 1


def test_a_copy_takes_the_requests_of_one_between_servers_and_those_for_files(
    source: Server, destination: Server, account: Account, run_here: Run
) -> None:
    workspace = account.workspace("a")
    plain = run_here("copy-experiments", *places(source.url, destination.url), "--json").expect(0).json
    there = run_here("copy-experiments", *places(source.url, "databricks://a"), "--json").expect(0).json
    own = [path for _, path, _ in workspace.requests]
    beside = [path for path in own if re.search(r"/fs/|well-known|scim|mkdirs|get-status", path)]
    uploads = plain["requests"]["destination"] if "requests" in plain else None
    assert uploads is not None, sorted(plain)
    assert len(own) - len(beside) <= uploads
    assert there["kinds"]["run"]["done"] == plain["kinds"]["run"]["done"]


def test_a_run_with_more_params_than_a_request_takes_arrives_whole(
    empty_source: Server, account: Account, run_here: Run
) -> None:
    workspace = account.workspace("a")
    params = {f"p{number:03}": "é" * 6000 for number in range(100)}
    with contextlib.closing(Api(empty_source.url)) as api:
        experiment = api.post("experiments/create", name="wide")["experiment_id"]
        run = api.post("runs/create", experiment_id=experiment, start_time=1)["run"]["info"]["run_id"]
        api.post("runs/log-batch", run_id=run, params=[{"key": key, "value": value} for key, value in params.items()])
    run_here("copy-experiments", *places(empty_source.url, "databricks://a")[:4], "--experiments", "wide").expect(0)
    with contextlib.closing(Api(workspace.url)) as api:
        api.session.headers.update(workspace.headers())
        (arrived,) = rest.runs(api, experiments(workspace)[f"/Users/{ADMIN}/wide"])
    assert {pair["key"]: pair["value"] for pair in arrived["data"]["params"]} == params


def test_a_filter_is_not_refused_where_the_experiment_it_is_tried_on_is_forbidden(account: Account) -> None:
    workspace = account.workspace("a")
    live = Live(Rest("databricks://a", Credentials(), workers=1, patience=5))
    live.connect()
    workspace.faults.add(Fault("runs/search", status=403))
    live.check_filter("metrics.acc > 0.9")
    live.close()
    assert [path for _, path, _ in workspace.requests if "runs/search" in path]


def test_two_names_that_are_no_paths_never_become_one_experiment(
    empty_source: Server, account: Account, run_here: Run
) -> None:
    names = {"a//b", "a/%/b", "a/%25/b", "a/./b", "a/%2E/b"}
    with contextlib.closing(Api(empty_source.url)) as api:
        for name in sorted(names):
            api.post("experiments/create", name=name)
    workspace = account.workspace("a")
    run_here("copy-experiments", *places(empty_source.url, "databricks://a")).expect(0)
    kept = [path for path in experiments(workspace) if path.startswith(f"/Users/{ADMIN}/a/")]
    assert len(kept) == len(names)
    run_here("verify", empty_source.url, "databricks://a", "--experiments", "all").expect(0)


def test_a_trace_whose_spans_fail_to_arrive_is_not_whole_until_a_second_run(
    empty_source: Server, account: Account, run_here: Run
) -> None:
    mlflow_script(TRACED, own(empty_source.url))
    workspace = account.workspace("a")
    workspace.faults.add(Fault("credentials-for-data-upload", 403, times=0))
    command = ("copy-experiments", *places(empty_source.url, "databricks://a"), "--json")
    assert run_here(*command).expect(1).json["kinds"]["trace"]["failed"] == 1
    workspace.faults.clear()
    again = run_here(*command).expect(0).json["kinds"]["trace"]
    assert again.get("same", 0) == 0
    assert len(list(workspace.folder.rglob("traces.json"))) == 1
    assert run_here(*command).expect(0).json["kinds"]["trace"]["same"] == 1
