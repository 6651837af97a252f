"""`app init`: every answer is an option; a person at a terminal is asked, nobody else ever."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apps.deploying import VOLUME as DEPLOYED_VOLUME
from tests.apps.deploying import Trial, trial
from tests.apps.package_index import wheel
from tests.conftest import Tool
from tests.databricks.fixtures import AccountFactory

VOLUME = "/Volumes/main/ml/app"
HERE = metadata.version("mlflow")
ALONE = {"DATABRICKS_CONFIG_FILE": "/dev/null"}


def content(tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((tool.home / "mlflow-app.yml").read_text(encoding="utf-8"))
    return found


def at_terminal(tool: Tool, answers: list[tuple[str, str]], *words: str) -> tuple[int, str]:
    """Run a command at a terminal; each answer is typed once its question stands there."""
    tool.home.mkdir(parents=True, exist_ok=True)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mlflow_migration", *words]
    with subprocess.Popen(
        command, cwd=tool.home, env={**tool.environment, **ALONE}, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said, seen, deadline = "", 0, time.monotonic() + 20
        waiting = list(answers)
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    said += os.read(ours, 4096).decode()
                except OSError:
                    break
            if waiting and waiting[0][0] in said[seen:]:
                seen = len(said)
                os.write(ours, f"{waiting.pop(0)[1]}\n".encode())
        if time.monotonic() >= deadline:
            process.kill()
        code = process.wait(10)
    os.close(ours)
    assert not waiting, said
    return code, said


def test_options_answer_everything_where_nobody_can_be_asked(run_tool: Tool) -> None:
    words = ["--mlflow", "someone/branch", "--workers", "2", "--set", "snapshots.keep=48", "--allowed-hosts", "a.b,c.d"]
    done = run_tool("app", "init", "--name", "trial", "--volume", VOLUME, *words)
    assert done.code == 0, done.stderr
    assert content(run_tool) == {
        "name": "trial",
        "mlflow": {"git": "someone/branch"},
        "volume": VOLUME,
        "workers": 2,
        "allowed_hosts": ["a.b", "c.d"],
        "snapshots": {"keep": 48},
    }


@pytest.mark.parametrize(
    ("words", "flag"), [([], "--name"), (["--name", "x"], "--volume"), (["--name", "x", "--backend", "y"], "backend")]
)
def test_what_is_missing_is_named_and_nothing_is_written(run_tool: Tool, words: list[str], flag: str) -> None:
    done = run_tool("app", "init", *words)
    assert (done.code, flag in done.stderr) == (2, True)
    assert not (run_tool.home / "mlflow-app.yml").exists()


def test_a_dry_run_shows_the_file_and_writes_none(run_tool: Tool) -> None:
    done = run_tool("app", "init", "--name", "trial", "--volume", VOLUME, "--dry-run")
    assert f"volume: {VOLUME}" in done.stdout
    assert not (run_tool.home / "mlflow-app.yml").exists()


def test_run_again_it_shows_what_is_set_and_changes_what_options_say(run_tool: Tool) -> None:
    run_tool("app", "init", "--name", "trial", "--volume", VOLUME)
    done = run_tool("app", "init", "--backend", "databricks", "--set", "volume=", env=ALONE)
    assert "name: trial" in done.stdout
    assert "deployed: not known" in done.stdout
    assert content(run_tool) == {"name": "trial", "backend": "databricks"}


def test_another_backend_takes_the_keys_of_the_one_before_out(run_tool: Tool) -> None:
    words = ["--name", "trial", "--volume", VOLUME, "--backend", "lakebase", "--lakebase-project", "p"]
    assert run_tool("app", "init", *words).code == 0
    done = run_tool("app", "init", "--backend", "sqlite", "--json", env=ALONE)
    assert json.loads(done.stdout)["changed"] == {
        "backend": {"before": "lakebase", "after": "sqlite"},
        "lakebase": {"before": {"project": "p"}, "after": None},
    }
    assert content(run_tool) == {"name": "trial", "volume": VOLUME, "backend": "sqlite"}


def test_run_again_without_options_it_only_shows(run_tool: Tool) -> None:
    run_tool("app", "init", "--name", "trial", "--volume", VOLUME)
    before = (run_tool.home / "mlflow-app.yml").stat().st_mtime_ns
    done = run_tool("app", "init", "--json", env=ALONE)
    found = json.loads(done.stdout)
    assert (found["created"], found["changed"], found["config"]["name"]) == (False, {}, "trial")
    assert (run_tool.home / "mlflow-app.yml").stat().st_mtime_ns == before


def test_whether_it_is_deployed_is_asked_of_the_workspace(run_tool: Tool, databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a", metastore="m1")
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.apps import App

    client = WorkspaceClient(host=workspace.url, token=workspace.token())
    env = {**ALONE, "DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    run_tool("app", "init", "--name", "trial", "--volume", VOLUME)
    assert "deployed: no\n" in run_tool("app", "init", env=env).stdout
    url = client.apps.create_and_wait(App(name="trial")).url
    found = json.loads(run_tool("app", "init", "--json", env=env).stdout)["deployed"]
    assert (found["deployed"], found["url"], found["compute"]) == (True, url, "ACTIVE")


def test_a_person_is_asked_until_the_answer_can_be(run_tool: Tool) -> None:
    answers = [
        ("Name of the app", "My App"),
        ("Name of the app", "tracking"),
        ("MLflow: a version", "someone/branch"),
        ("Backend", ""),
        ("Volume for", "/Volumes/too-short"),
        ("Volume for", VOLUME),
        ("Deploy it now?", ""),
    ]
    code, said = at_terminal(run_tool, answers, "app", "init")
    assert code == 0, said
    assert content(run_tool) == {
        "name": "tracking",
        "mlflow": {"git": "someone/branch"},
        "backend": "sqlite",
        "volume": VOLUME,
    }


def test_a_person_changes_one_thing_after_the_other(run_tool: Tool) -> None:
    run_tool("app", "init", "--name", "trial", "--volume", VOLUME)
    answers = [
        ("What do you want to change?", "1"),
        ("MLflow: a version", "3.17.2"),
        ("What do you want to change?", "3"),
        ("Compute size", "LARGE"),
        ("Processes", "2"),
        ("Further hosts", "a.example.org"),
        ("What do you want to change?", "5"),
    ]
    code, said = at_terminal(run_tool, answers, "app", "init")
    assert code == 0, said
    changed = {"mlflow": "3.17.2", "compute": "LARGE", "workers": 2, "allowed_hosts": ["a.example.org"]}
    assert content(run_tool) == {"name": "trial", "volume": VOLUME, **changed}


def test_answers_that_are_given_are_not_asked_for(run_tool: Tool, tmp_path: Path) -> None:
    words = ["--name", "trial", "--volume", VOLUME, "--backend", "sqlite"]
    code, said = at_terminal(run_tool, [("MLflow: a version", ""), ("Deploy it now?", "1")], "app", "init", *words)
    assert code == 0, said
    assert "Name of the app" not in said


def deployer(made: Trial) -> dict[str, str]:
    return {
        **ALONE,
        "DATABRICKS_HOST": made.workspace.url,
        "DATABRICKS_CLIENT_ID": made.client.client_id,
        "DATABRICKS_CLIENT_SECRET": made.client.client_secret,
    }


def own_wheel(folder: Path) -> Path:
    path = folder / f"mlflow_migration-{metadata.version('mlflow-migration')}-py3-none-any.whl"
    path.write_bytes(wheel({"mlflow_migration/__init__.py": b""}))
    return path


def test_what_is_set_up_and_cannot_be_deployed_is_told_by_the_deployment(
    run_tool: Tool, databricks_account: AccountFactory, tmp_path: Path
) -> None:
    made = trial(databricks_account().workspace("a", metastore="m1"))
    words = ["--volume", "/Volumes/main/nothing/here", "--mlflow", HERE, "--wheel", str(own_wheel(tmp_path))]
    done = run_tool("app", "init", "--name", "trial", *words, "--deploy", "--json", env=deployer(made))
    assert done.code != 0
    assert "main.nothing" in json.dumps(json.loads(done.stdout))
    assert content(run_tool)["name"] == "trial"
    assert made.ask("apps/trial").status_code == 404


@pytest.mark.slow
def test_set_up_and_deployed_in_one_command_the_app_answers(
    run_tool: Tool, databricks_account: AccountFactory, tmp_path: Path
) -> None:
    made = trial(databricks_account().workspace("a", metastore="m1"))
    words = ["--volume", DEPLOYED_VOLUME, "--mlflow", HERE, "--wheel", str(own_wheel(tmp_path))]
    done = run_tool("app", "init", "--name", "tracking", *words, "--deploy", "--json", env=deployer(made))
    assert done.code == 0, done.stderr
    found = made.ask("apps/tracking").json()
    assert found["app_status"]["state"] == "RUNNING"
    again = json.loads(run_tool("app", "init", "--json", env=deployer(made)).stdout)
    assert (again["deployed"]["app"], again["deployed"]["url"]) == ("RUNNING", found["url"])
