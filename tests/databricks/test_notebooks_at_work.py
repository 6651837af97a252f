"""Notebooks as they are used: inside a workspace with the credentials it gives, on Spark, from job to job."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import bundle_content
from tests.conftest import Run
from tests.databricks import notebook_cases
from tests.databricks.fixtures import AccountFactory
from tests.databricks.notebook_cases import FOLDER
from tests.databricks.run_notebook import run_notebook
from tests.databricks.state import Workspace
from tests.databricks.test_notebooks import made_of, ran, run
from tests.databricks.test_run_notebooks import PATH, REVISION, a_run, call, read, run_tags, write
from tests.servers import Server

TRAIN = "/Users/admin@example.com/Train"


@pytest.fixture
def ends(databricks_account: AccountFactory) -> tuple[Workspace, Workspace]:
    """Two workspaces."""
    account = databricks_account()
    return account.workspace("a"), account.workspace("b", metastore="other")


def enter(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process is a driver in that workspace."""
    for name, value in {
        "DATABRICKS_HOST": workspace.url,
        "DATABRICKS_TOKEN": workspace.token(),
        "DATABRICKS_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)


def test_widgets_as_they_come_mean_the_workspace_the_notebook_runs_in(
    ends: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, run_here: Run, tmp_path: Path
) -> None:
    a, b = ends
    revision = write(a, TRAIN, "# Databricks notebook source\nprint(1)\n")
    write(a, TRAIN, "# Databricks notebook source\nprint(2)\n")
    a_run(a, "wine", {PATH: TRAIN, REVISION: revision})
    monkeypatch.setenv("MLFLOW_MIGRATION_STATE_DIR", str(tmp_path / "ledgers"))
    enter(a, monkeypatch)
    exported = ran("bulk/Export_Experiments", experiments="all", output_dir=tmp_path / "b", notebook_formats="SOURCE")
    assert made_of(exported["kinds"], "done") == {"experiment": 1, "run": 1}
    enter(b, monkeypatch)
    imported = ran("bulk/Import_Experiments", input_dir=tmp_path / "b", dst_notebook_dir="/Shared/n")
    assert made_of(imported["kinds"], "done") == {"experiment": 1, "run": 1}
    assert "print(1)" in read(b, run_tags(b, "/Shared/wine")["mlflow_migration.notebook"])
    again = ran("bulk/Import_Experiments", input_dir=tmp_path / "b", dst_notebook_dir="/Shared/n")
    assert made_of(again["kinds"], "same") == {"experiment": 1, "run": 1}


def test_a_notebook_shows_links_to_the_workspace_and_no_token(
    ends: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a, _ = ends
    a_run(a, "wine", {})
    enter(a, monkeypatch)
    ended = run("bulk/Export_Experiments", experiments="all", output_dir=tmp_path / "b")
    assert ended.error is None, ended.trace
    assert f'href="{a.url}"' in ended.shown[0]
    assert a.token() not in json.dumps([ended.shown, ended.exit])


def test_the_notebook_of_access_shows_the_statements_for_what_lacks_and_fails(
    ends: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = ends
    a.account.add_user("eve@example.com")
    call(a, "POST", "/api/2.1/unity-catalog/catalogs", json={"name": "prod"})
    call(a, "POST", "/api/2.1/unity-catalog/schemas", json={"name": "ml", "catalog_name": "prod"})
    enter(a, monkeypatch)
    words = {"place": "databricks-uc", "catalog": "prod", "schema": "ml"}
    ended = run("tools/Check_Access", principal="eve@example.com", **words)
    assert ended.exit is None and "exit code 1" in (ended.error or "")
    assert "GRANT USE CATALOG ON CATALOG" in ended.shown[0]
    assert ran("tools/Check_Access", principal="admin@example.com", **words)["ok"] is True


def test_a_token_that_is_refused_ends_the_notebook(
    ends: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(ends[0], monkeypatch)
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-wrong")
    ended = run("bulk/Export_Experiments", experiments="all", output_dir=tmp_path / "b")
    assert ended.exit is None and "AccessError" in (ended.error or "")
    assert "dapi-wrong" not in (ended.trace or "")


def test_the_console_notebook_signs_in_with_a_token_of_a_secret_scope(
    ends: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    a, _ = ends
    call(a, "POST", "/api/2.0/secrets/scopes/create", json={"scope": "mine"})
    body = {"scope": "mine", "key": "token", "string_value": a.token()}
    call(a, "POST", "/api/2.0/secrets/put", json=body)
    enter(a, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    monkeypatch.chdir(FOLDER.parent)
    ended = run_notebook(FOLDER / "scripts/Console_Scripts.py", {"secret-scope": "mine", "secret-key": "token"})
    assert ended.error is None, ended.trace
    shown = capfd.readouterr().err
    assert f"ok   {a.url}" in shown and a.token() not in shown


@pytest.mark.slow
def test_a_bulk_notebook_exports_on_spark_what_threads_export(
    empty_source: Server, monkeypatch: pytest.MonkeyPatch, run_here: Run, tmp_path: Path
) -> None:
    notebook_cases.seed(empty_source)
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    place: dict[str, Any] = {"tracking_uri": empty_source.url, "output_dir": tmp_path / "spark"}
    report = ran("bulk/Export_Experiments", experiments="all", engine="spark", shards="2", **place)
    assert report["kinds"]["run"]["done"] == 1
    words = ("--tracking-uri", empty_source.url, "--output-dir", tmp_path / "threads", "--experiments", "all")
    run_here("export-experiments", *words).expect(0)
    assert bundle_content.differing(tmp_path / "spark", tmp_path / "threads") == []


def test_a_result_too_long_for_a_notebook_is_shortened_and_stays_json(
    empty_source: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_migration import notebook

    monkeypatch.setattr(notebook, "LONGEST_RESULT", 100)
    notebook_cases.seed(empty_source)
    report = ran("tools/List_Registered_Models", tracking_uri=empty_source.url)
    assert report["shortened"] is True and report["ok"] is True and "registered_models" not in report
