"""The real MLflow client works on the emulator with nothing but `databricks` as its address."""

import json
from pathlib import Path

import pytest
import requests

from tests.databricks import clients
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace
from tests.databricks.tracking_traces import Searches

# They prove the emulator by the real clients, each in an interpreter of its own; what is built on it is tested by the
# files beside this one.
pytestmark = pytest.mark.slow

EXPERIMENT = f"/Users/{ADMIN}/churn"


def environment(workspace: Workspace) -> dict[str, str]:
    return {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}


def get(workspace: Workspace, path: str, **query: str) -> requests.Response:
    return requests.get(f"{workspace.url}/api/{path}", params=query, headers=workspace.headers(), timeout=120)


def post(workspace: Workspace, path: str, body: object) -> requests.Response:
    return requests.post(f"{workspace.url}/api/{path}", json=body, headers=workspace.headers(), timeout=120)


RUN = f"""
import mlflow
mlflow.set_experiment("{EXPERIMENT}")
with mlflow.start_run(run_name="first") as run:
    mlflow.log_params({{"depth": 3, "unicode": "é ✓"}})
    mlflow.log_metrics({{"auc": 0.5}}, step=1)
    mlflow.log_metrics({{"auc": 0.75}}, step=2)
    mlflow.set_tag("team", "risk")
    mlflow.log_text("hello", "notes/a b#c.txt")
    folder = Path(tempfile.mkdtemp())
    (folder / "deep").mkdir()
    (folder / "deep" / "x.bin").write_bytes(bytes(range(256)))
    mlflow.log_artifacts(str(folder), "many")
client = mlflow.MlflowClient()
got = client.get_run(run.info.run_id)
local = client.download_artifacts(run.info.run_id, "many/deep/x.bin", tempfile.mkdtemp())
tell({{
    "run": run.info.run_id, "experiment": run.info.experiment_id, "uri": run.info.artifact_uri,
    "params": got.data.params, "metrics": got.data.metrics, "tags": got.data.tags,
    "history": [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "auc")],
    "found": [one.info.run_id for one in client.search_runs([run.info.experiment_id], "params.depth = '3'")],
    "root": sorted(one.path for one in client.list_artifacts(run.info.run_id)),
    "notes": sorted(one.path for one in client.list_artifacts(run.info.run_id, "notes")),
    "bytes": list(Path(local).read_bytes()),
}})
"""


def test_a_run_with_everything_comes_back_as_it_was_logged(databricks_account: AccountFactory, tmp_path: Path) -> None:
    workspace = databricks_account().workspace("a")
    told = clients.run(tmp_path, RUN, environment(workspace))
    assert told["params"] == {"depth": "3", "unicode": "é ✓"}
    assert told["history"] == [[1, 0.5], [2, 0.75]]
    assert told["found"] == [told["run"]]
    assert told["root"] == ["many", "notes"]
    assert told["notes"] == ["notes/a b#c.txt"]
    assert told["bytes"] == list(range(256))
    assert told["uri"] == f"dbfs:/databricks/mlflow-tracking/{told['experiment']}/{told['run']}/artifacts"
    assert told["tags"]["mlflow.user"] == ADMIN
    assert told["tags"]["mlflow.rootRunId"] == told["run"]
    kept = workspace.folder / "WorkspaceInternal/Mlflow/Artifacts" / told["experiment"] / "Runs" / told["run"]
    assert (kept / "artifacts/notes/a b#c.txt").read_text() == "hello"
    seen = get(workspace, f"2.0/workspace/get-status?path={EXPERIMENT}").json()
    assert (seen["object_type"], str(seen["object_id"])) == ("MLFLOW_EXPERIMENT", told["experiment"])


@pytest.mark.slow
@pytest.mark.parametrize("cloud", ["AWS", "GCP", "AZURE"])
def test_where_the_files_api_refuses_the_client_falls_back_to_signed_urls(
    databricks_account: AccountFactory, tmp_path: Path, cloud: str
) -> None:
    workspace = databricks_account().workspace("a")
    workspace.cloud = cloud
    workspace.faults.add(Fault("/api/2.0/fs/", 403, times=0))
    told = clients.run(tmp_path, RUN, environment(workspace))
    assert told["notes"] == ["notes/a b#c.txt"]
    assert told["bytes"] == list(range(256))
    asked = {path for _, path, _ in workspace.requests}
    assert "/api/2.0/mlflow/artifacts/credentials-for-write" in asked
    assert "/api/2.0/mlflow/artifacts/credentials-for-read" in asked


@pytest.mark.slow
def test_a_large_file_goes_in_parts_by_signed_urls(databricks_account: AccountFactory, tmp_path: Path) -> None:
    workspace = databricks_account().workspace("a")
    workspace.faults.add(Fault("/api/2.0/fs/", 403, times=0))
    script = f"""
    import hashlib, mlflow, os
    mlflow.set_experiment("{EXPERIMENT}")
    content = os.urandom(11 * 1024 * 1024)
    Path("large.bin").write_bytes(content)
    with mlflow.start_run() as run:
        mlflow.log_artifact("large.bin")
    local = mlflow.MlflowClient().download_artifacts(run.info.run_id, "large.bin", tempfile.mkdtemp())
    tell(Path(local).read_bytes() == content)
    """
    small = {"MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "6000000", "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": "5242880"}
    assert clients.run(tmp_path, script, environment(workspace) | small) is True
    asked = [path for _, path, _ in workspace.requests]
    assert asked.count("/api/2.0/mlflow/artifacts/complete-multipart-upload") == 1


def test_a_logged_model_is_kept_and_loads_again(databricks_account: AccountFactory, tmp_path: Path) -> None:
    workspace = databricks_account().workspace("a")
    script = f"""
    import mlflow
    mlflow.set_experiment("{EXPERIMENT}")
    class Double(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input: list[float]) -> list[float]:
            return [2 * x for x in model_input]
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(name="double", python_model=Double(), pip_requirements=[])
    client = mlflow.MlflowClient()
    model = client.get_logged_model(info.model_id)
    tell({{
        "id": info.model_id, "location": model.artifact_location, "status": str(model.status),
        "experiment": model.experiment_id,
        "files": sorted(one.path for one in client.list_logged_model_artifacts(info.model_id)),
        "found": [one.model_id for one in client.search_logged_models([model.experiment_id])],
        "predicted": mlflow.pyfunc.load_model(f"models:/{{info.model_id}}").predict([1.5]),
    }})
    """
    told = clients.run(tmp_path, script, environment(workspace))
    root = f"dbfs:/databricks/mlflow-tracking/{told['experiment']}/logged_models/{told['id']}"
    assert told["location"] == f"{root}/artifacts"
    assert told["predicted"] == [3.0]
    assert told["found"] == [told["id"]]
    assert "MLmodel" in told["files"]
    kept = workspace.folder / "WorkspaceInternal/Mlflow/Artifacts" / told["experiment"] / "LoggedModels" / told["id"]
    assert (kept / "artifacts/MLmodel").is_file()


@pytest.mark.parametrize("supported", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_trace_with_its_spans_is_found_and_read(
    databricks_account: AccountFactory, tmp_path: Path, supported: bool
) -> None:
    workspace = databricks_account().workspace("a")
    workspace.part(Searches).supported = supported
    workspace.part(Searches).polls = 1
    script = f"""
    import mlflow
    experiment = mlflow.set_experiment("{EXPERIMENT}")
    with mlflow.start_span("outer") as outer:
        outer.set_inputs({{"q": "é"}})
        with mlflow.start_span("inner") as inner:
            inner.set_attribute("n", 7)
        outer.set_outputs("done")
    mlflow.flush_trace_async_logging()
    client = mlflow.MlflowClient()
    trace_id = mlflow.get_last_active_trace_id()
    client.set_trace_tag(trace_id, "kind", "test")
    mlflow.log_feedback(trace_id=trace_id, name="good", value=True)
    trace = client.get_trace(trace_id)
    found = client.search_traces(locations=[experiment.experiment_id])
    tell({{
        "id": trace_id, "experiment": experiment.experiment_id,
        "spans": [span.name for span in trace.data.spans], "tags": trace.info.tags,
        "feedback": [one.name for one in trace.info.assessments],
        "found": [(one.info.trace_id, len(one.data.spans)) for one in found],
    }})
    """
    told = clients.run(tmp_path, script, environment(workspace))
    assert told["spans"] == ["outer", "inner"]
    assert told["feedback"] == ["good"]
    assert told["tags"]["kind"] == "test"
    place = f"dbfs:/databricks/mlflow-tracking/{told['experiment']}/{told['id']}/artifacts"
    assert told["tags"]["mlflow.artifactLocation"] == place
    assert told["found"] == [[told["id"], 2]]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"name": "churn"}, "INVALID_PARAMETER_VALUE", "must be an absolute path"),
        ({"name": "/Shared/nowhere/x"}, "RESOURCE_DOES_NOT_EXIST", "Parent directory /Shared/nowhere does not exist."),
        ({"name": f"/Users/{ADMIN}/taken"}, "RESOURCE_ALREADY_EXISTS", "Node named 'taken' already exists"),
    ],
)
def test_an_experiment_is_refused_where_the_workspace_has_no_room_for_it(
    databricks_account: AccountFactory, body: dict[str, str], code: str, message: str
) -> None:
    workspace = databricks_account().workspace("a")
    post(workspace, "2.0/workspace/mkdirs", {"path": f"/Users/{ADMIN}/taken"}).raise_for_status()
    answer = post(workspace, "2.0/mlflow/experiments/create", body)
    assert answer.json()["error_code"] == code
    assert message in answer.json()["message"]


def test_an_experiment_made_below_the_workspace_prefix_is_found_only_without_it(
    databricks_account: AccountFactory,
) -> None:
    workspace = databricks_account().workspace("a")
    made = post(workspace, "2.0/mlflow/experiments/create", {"name": "/Workspace/Shared/x"})
    found = get(workspace, "2.0/mlflow/experiments/get-by-name", experiment_name="/Shared/x").json()["experiment"]
    assert found["experiment_id"] == made.json()["experiment_id"]
    tags = {tag["key"]: tag["value"] for tag in found["tags"]}
    assert (tags["mlflow.ownerEmail"], tags["mlflow.experiment.sourceName"]) == (ADMIN, "/Shared/x")
    other = get(workspace, "2.0/mlflow/experiments/get-by-name", experiment_name="/Workspace/Shared/x")
    assert other.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    again = post(workspace, "2.0/mlflow/experiments/create", {"name": "/Workspace/Shared/x"})
    assert again.json()["error_code"] == "RESOURCE_ALREADY_EXISTS"


def test_a_deleted_experiments_name_is_free_and_restoring_needs_it_back(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    first = post(workspace, "2.0/mlflow/experiments/create", {"name": "/Shared/x"}).json()["experiment_id"]
    post(workspace, "2.0/mlflow/experiments/delete", {"experiment_id": first}).raise_for_status()
    second = post(workspace, "2.0/mlflow/experiments/create", {"name": "/Shared/x"}).json()["experiment_id"]
    refused = post(workspace, "2.0/mlflow/experiments/restore", {"experiment_id": first})
    assert refused.json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
    new = {"experiment_id": second, "new_name": "/Shared/y"}
    post(workspace, "2.0/mlflow/experiments/update", new).raise_for_status()
    post(workspace, "2.0/mlflow/experiments/restore", {"experiment_id": first}).raise_for_status()
    names = {key: get(workspace, "2.0/mlflow/experiments/get", experiment_id=key).json() for key in (first, second)}
    assert [names[key]["experiment"]["name"] for key in (first, second)] == ["/Shared/x", "/Shared/y"]


@pytest.mark.parametrize("tag", ["mlflow.user", "mlflow.rootRunId"])
def test_tags_the_platform_keeps_to_itself_are_refused(databricks_account: AccountFactory, tag: str) -> None:
    workspace = databricks_account().workspace("a")
    experiment = post(workspace, "2.0/mlflow/experiments/create", {"name": "/Shared/x"}).json()["experiment_id"]
    made = {"experiment_id": experiment, "user_id": "somebody", "start_time": 5}
    run = post(workspace, "2.0/mlflow/runs/create", made).json()["run"]["info"]
    assert run["user_id"] == ADMIN
    one = {"run_id": run["run_id"], "key": tag, "value": "v"}
    many = {"run_id": run["run_id"], "tags": [{"key": tag, "value": "v"}]}
    for path, body in (("set-tag", one), ("log-batch", many)):
        answer = post(workspace, f"2.0/mlflow/runs/{path}", body)
        assert answer.json() == {"error_code": "INVALID_PARAMETER_VALUE", "message": f"Cannot update tag '{tag}'"}


@pytest.mark.parametrize(
    "path",
    [
        "/version",
        "/health",
        "/ajax-api/2.0/mlflow/experiments/search",
        "/api/2.0/mlflow-artifacts/artifacts",
        "/api/2.0/mlflow/webhooks",
        "/api/3.0/mlflow/gateway/endpoints/list",
        "/api/3.0/mlflow/datasets/search",
        "/api/3.0/mlflow/scorers/list",
        "/api/3.0/mlflow/label-schemas/list",
        "/api/3.0/mlflow/workspaces",
        "/api/3.0/mlflow/traces/get",
        "/api/2.0/mlflow/users/get",
        "/api/3.0/mlflow/server-info",
    ],
)
def test_what_only_the_open_source_server_has_is_no_endpoint(databricks_account: AccountFactory, path: str) -> None:
    workspace = databricks_account().workspace("a")
    answer = requests.get(f"{workspace.url}{path}", headers=workspace.headers(), timeout=120)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_spans_by_otlp_are_no_endpoint(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    answer = requests.post(f"{workspace.url}/v1/traces", data=b"", headers=workspace.headers(), timeout=120)
    assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"


def test_a_batch_of_more_than_a_megabyte_is_refused(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    metrics = [{"key": "k" * 240, "value": 1, "timestamp": 1, "step": step} for step in range(4000)]
    answer = post(workspace, "2.0/mlflow/runs/log-batch", {"run_id": "0" * 32, "metrics": metrics})
    assert answer.status_code == 400
    assert "exceeds the limit" in answer.json()["message"]


def test_another_users_experiment_is_neither_listed_nor_read(databricks_account: AccountFactory) -> None:
    account = databricks_account()
    workspace = account.workspace("a")
    account.add_user("eve@example.com")
    experiment = post(workspace, "2.0/mlflow/experiments/create", {"name": EXPERIMENT}).json()["experiment_id"]
    shared = post(workspace, "2.0/mlflow/experiments/create", {"name": "/Shared/x"}).json()["experiment_id"]
    made = {"experiment_id": experiment, "start_time": 5}
    run = post(workspace, "2.0/mlflow/runs/create", made).json()["run"]["info"]["run_id"]
    headers = workspace.headers("eve@example.com")
    root = f"{workspace.url}/api/2.0"
    listed = requests.get(f"{root}/mlflow/experiments/search", {"max_results": 10}, headers=headers, timeout=120).json()
    assert [one["experiment_id"] for one in listed["experiments"]] == [shared]
    for address in (
        f"mlflow/experiments/get?experiment_id={experiment}",
        f"mlflow/runs/get?run_id={run}",
        f"mlflow/artifacts/list?run_id={run}",
        f"fs/directories/WorkspaceInternal/Mlflow/Artifacts/{experiment}/Runs/{run}/artifacts",
    ):
        answer = requests.get(f"{root}/{address}", headers=headers, timeout=120)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED"), address
    assert json.dumps(listed).count(EXPERIMENT) == 0
