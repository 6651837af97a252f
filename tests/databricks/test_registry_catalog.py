"""Registered models from an open-source server into Unity Catalog, judged by MLflow's client and plain requests."""

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Outcome, Tool
from tests.databricks import catalogue, models
from tests.databricks.clients import environment
from tests.databricks.faults import Fault
from tests.databricks.registry_samples import Made, catalog, loads, tags, users, versions_of, writes
from tests.databricks.state import Workspace
from tests.faults import start
from tests.servers import Server

PREFIX = ("--prefix", "main.ml.")
MAPPED = ("--stages-to-aliases", "Production=champion,Staging=challenger")
ANN = "ann@example.com"
Copy = Callable[..., Outcome]


@pytest.fixture
def copy(in_catalog: Tool, empty_source: Server) -> Copy:
    """copy-models of all models of the source into the catalog of workspace a."""

    def run(*options: str, to: str = "databricks-uc://a", env: Mapping[str, str] | None = None) -> Outcome:
        ends = ("--src-mlflow-uri", empty_source.url, "--dst-mlflow-uri", to)
        return in_catalog("copy-models", "--models", "all", *ends, "--json", *options, env=env)

    return run


def stored(workspace: Workspace, version: str, name: str = "main/ml/churn") -> set[str]:
    """The files of a version, on the emulator's disk."""
    folder = next(iter(workspace.metastore.folder.rglob(f"{name}/{version}")), None)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} if folder else set()


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = outcome.json["rows"]
    return found


def test_models_arrive_in_unity_catalog_whole_and_load_by_alias_and_a_second_run_writes_nothing(
    churn: Made, copy: Copy, workspace: Workspace
) -> None:
    copy(*PREFIX, *MAPPED).expect(0)
    model = catalog(workspace, "registered-models/get", name="main.ml.churn")["registered_model"]
    assert model["description"] == "who leaves"
    assert users(model) == {"team": "growth"}
    aliases = {alias["alias"]: alias["version"] for alias in model["aliases"]}
    assert aliases == {"best": "2", "champion": "2", "challenger": "1"}
    assert versions_of(workspace, "main.ml.churn") == {"1": "READY", "2": "READY", "4": "READY"}
    second = catalog(workspace, "model-versions/get", name="main.ml.churn", version="2")["model_version"]
    assert (second["description"], users(second)) == ("the good one", {"checked": "yes"})
    assert tags(second)["mlflow_migration_tag_x2E_data_x2E_set"] == '"2024-05"'
    assert second["run_id"] not in churn.runs.values()
    assert loads("models:/main.ml.churn@best", environment(workspace)) == [3.0, True]
    assert "MLmodel" in stored(workspace, "2")
    assert not any("registered_model_meta" in name for name in stored(workspace, "2"))
    workspace.requests.clear()
    copy(*PREFIX, *MAPPED).expect(0)
    assert writes(workspace) == []


def test_an_mlmodel_file_names_the_run_and_the_logged_model_of_the_workspace(
    churn: Made, copy: Copy, workspace: Workspace
) -> None:
    copy(*PREFIX, *MAPPED).expect(0)
    path = next(workspace.metastore.folder.rglob("main/ml/churn/1/MLmodel"))
    mlmodel = yaml.safe_load(path.read_text())
    head = catalog(workspace, "model-versions/get", name="main.ml.churn", version="1")["model_version"]
    assert mlmodel["run_id"] == head["run_id"] != churn.runs["1"]
    assert mlmodel["artifact_path"].startswith("dbfs:/databricks/mlflow-tracking/")


def test_a_version_without_a_signature_is_refused_before_anything_of_it_is_uploaded(
    churn: Made, copy: Copy, workspace: Workspace, empty_source: Server
) -> None:
    for path in empty_source.artifacts.rglob("MLmodel"):
        mlmodel = yaml.safe_load(path.read_text())
        if mlmodel["run_id"] == churn.runs["2"]:
            del mlmodel["signature"]
            path.write_text(yaml.safe_dump(mlmodel))
    outcome = copy(*PREFIX, *MAPPED).expect(1)
    (row,) = [row for row in rows(outcome) if row["state"] == "failed"]
    assert (row["kind"], row["id"]) == ("model_version", "churn/2")
    assert "no signature" in row["reason"]
    assert "set-model-signature --model-uri" in row["reason"]
    assert versions_of(workspace, "main.ml.churn") == {"1": "READY", "4": "READY"}
    assert not any("/Models/main/ml/churn/2/" in path for _, path, _ in workspace.requests)


def test_a_name_without_three_levels_is_refused_before_anything_is_written(
    churn: Made, copy: Copy, workspace: Workspace
) -> None:
    said = copy().expect(2).stderr + copy("--rename", "churn=ml.churn").expect(2).stderr
    assert "catalog.schema.name" in said
    assert "--model-rename-file" in said
    assert "--prefix" in said
    assert writes(workspace) == []


def test_names_are_given_by_a_file_and_come_in_lower_case_with_a_row_that_says_so(
    churn: Made, copy: Copy, workspace: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "names.csv"
    file.write_text("churn,main.ml.Churn_2\n")
    outcome = copy("--model-rename-file", str(file), *MAPPED).expect(1)
    (row,) = rows(outcome)
    assert (row["kind"], row["state"]) == ("name", "unsupported")
    assert "lower case" in row["reason"]
    copy("--model-rename-file", str(file), *MAPPED, "--allow-loss", "name").expect(0)
    assert len(versions_of(workspace, "main.ml.churn_2")) == 3


def test_stages_without_aliases_for_them_are_rows_and_kept_in_tags(
    churn: Made, copy: Copy, workspace: Workspace
) -> None:
    outcome = copy(*PREFIX).expect(1)
    lost = [(row["kind"], row["id"]) for row in rows(outcome)]
    assert sorted(lost) == [("tag", "churn/1"), ("tag", "churn/2")]
    assert "--stages-to-aliases Production=ALIAS" in rows(outcome)[0]["reason"] + rows(outcome)[1]["reason"]
    head = catalog(workspace, "model-versions/get", name="main.ml.churn", version="2")["model_version"]
    assert tags(head)["mlflow_migration_stage"] == "Production"


@pytest.mark.parametrize(
    ("lacking", "grant"),
    [
        ("CREATE_MODEL", "GRANT CREATE MODEL ON SCHEMA `main`.`ml` TO `ann@example.com`"),
        ("USE_SCHEMA", "GRANT USE SCHEMA ON SCHEMA `main`.`ml` TO `ann@example.com`"),
        ("USE_CATALOG", "GRANT USE CATALOG ON CATALOG `main` TO `ann@example.com`"),
    ],
)
def test_a_missing_privilege_is_named_with_its_grant(
    lacking: str, grant: str, churn: Made, copy: Copy, workspace: Workspace
) -> None:
    workspace.account.add_user(ANN)
    for on, privilege in (("main", "USE_CATALOG"), ("main.ml", "USE_SCHEMA"), ("main.ml", "CREATE_MODEL")):
        if privilege != lacking:
            catalogue.grant(workspace.metastore, ANN, on, privilege)
    env = {"MLFLOW_MIGRATION_DST_DATABRICKS_HOST": workspace.url}
    env["MLFLOW_MIGRATION_DST_DATABRICKS_TOKEN"] = workspace.token(ANN)
    outcome = copy(*PREFIX, *MAPPED, to="databricks-uc", env=env)
    assert outcome.code in {1, 3}, str(outcome)
    assert any(grant in row["reason"] for row in rows(outcome)), str(outcome)


def test_a_schema_that_is_not_there_is_named(churn: Made, copy: Copy, workspace: Workspace) -> None:
    outcome = copy("--prefix", "main.other.", *MAPPED).expect(1)
    assert any("CREATE SCHEMA main.other" in row["reason"] for row in rows(outcome)), str(outcome)


def test_a_job_killed_between_two_uploads_is_ended_by_typing_it_again_under_the_same_numbers(
    churn: Made, copy: Copy, workspace: Workspace, in_catalog: Tool, empty_source: Server
) -> None:
    workspace.faults.add(Fault(r"PUT .*/Models/main/ml/churn/2/", status=0, delay=600, times=0, after=1))
    ends = ("--src-mlflow-uri", empty_source.url, "--dst-mlflow-uri", "databricks-uc://a")
    running = start(in_catalog, "copy-models", "--models", "all", *ends, *PREFIX, *MAPPED)
    ends_at = time.monotonic() + 90
    while versions_of(workspace, "main.ml.churn").get("2") != "PENDING_REGISTRATION" or not stored(workspace, "2"):
        assert time.monotonic() < ends_at
        assert running.process.poll() is None
        time.sleep(0.2)
    running.signal(signal.SIGKILL)
    running.end()
    workspace.faults.clear()
    rehearsed = copy(*PREFIX, *MAPPED, "--dry-run").expect(0).json["kinds"]["model_version"]
    assert (rehearsed["updated"], rehearsed["done"], rehearsed["same"]) == (1, 1, 1)
    copy(*PREFIX, *MAPPED).expect(0)
    assert versions_of(workspace, "main.ml.churn") == {"1": "READY", "2": "READY", "4": "READY"}
    assert loads("models:/main.ml.churn/2", environment(workspace)) == [3.0, True]


def test_files_go_by_signed_addresses_where_the_metastore_has_its_own_storage(
    churn: Made, copy: Copy, workspace: Workspace
) -> None:
    models.models(workspace.metastore).sdk_files = False
    copy(*PREFIX, *MAPPED).expect(0)
    assert loads("models:/main.ml.churn@best", environment(workspace)) == [3.0, True]


def test_files_in_a_customers_own_cloud_storage_are_told_and_no_version_is_called_whole(
    churn: Made, copy: Copy, workspace: Workspace
) -> None:
    models.models(workspace.metastore).sdk_files = False
    models.models(workspace.metastore).customer_hosted = True
    outcome = copy(*PREFIX, *MAPPED).expect(1)
    assert any("customer's own cloud storage" in row["reason"] for row in rows(outcome)), str(outcome)
    assert "READY" not in versions_of(workspace, "main.ml.churn").values()


def test_a_large_file_of_a_version_is_read_from_the_storage_itself(
    churn: Made, copy: Copy, in_catalog: Tool, workspace: Workspace, tmp_path: Path
) -> None:
    copy(*PREFIX, *MAPPED).expect(0)
    folder = next(iter(workspace.metastore.folder.rglob("main/ml/churn/2")))
    weights = b"w" * (9 * 1024 * 1024)
    (folder / "weights.bin").write_bytes(weights)
    workspace.requests.clear()
    ends = ("--tracking-uri", "databricks-uc://a", "--output-dir", str(tmp_path / "out"))
    in_catalog("export-models", "--models", "main.ml.churn", *ends)
    assert next((tmp_path / "out").rglob("weights.bin")).read_bytes() == weights
    assert sum("create-download-url" in path for _, path, _ in workspace.requests) == 1
