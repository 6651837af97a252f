"""What `cicd init` writes and `cicd check` says, without a server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Tool

PATH = ["dev", "staging", "prod"]
POLICY = {
    "version": 1,
    "environments": {
        "dev": {"server": "@dev"},
        "staging": {"server": "@staging"},
        "prod": {"server": "@prod", "protected": True},
    },
    "path": PATH,
}
WORKFLOWS = Path(".github/workflows")
SCHEMAS = {
    ".github/workflows/mlflow-pull-request.yml": "vendor.github-workflows",
    ".github/workflows/mlflow-promote-staging.yml": "vendor.github-workflows",
    ".github/workflows/mlflow-promote-prod.yml": "vendor.github-workflows",
    ".gitlab-ci.yml": "vendor.gitlab-ci",
    "azure-pipelines.yml": "vendor.azure-pipelines",
}
OF = {
    "github": [name for name in SCHEMAS if name.startswith(".github")],
    "gitlab": [".gitlab-ci.yml"],
    "azure-devops": ["azure-pipelines.yml"],
}


def _repository(folder: Path, **of_a_place: Any) -> Path:
    (folder / "promotion.yml").write_text(yaml.safe_dump(POLICY))
    places = {
        name: {"uri": "databricks-uc", "host": f"https://{name}.example.com", "client_id": f"{name}-id", **of_a_place}
        for name in ("dev", "staging", "prod")
    }
    (folder / "mlflow-migration.yml").write_text(yaml.safe_dump({"places": places}))
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("provider", list(OF))
@pytest.mark.parametrize("auth", ["oidc", "secrets"])
def test_every_providers_files_are_as_its_own_schema_wants_them(
    provider: str, auth: str, tmp_path: Path, run_tool: Tool
) -> None:
    more = {"client_secret_env": "DEPLOY_SECRET"} if auth == "secrets" else {}
    folder = _repository(tmp_path, **more)
    words = ("cicd", "init", "--provider", provider, "--models", "churn,fraud.v2", "--auth", auth)
    run_tool(*words, "--repository", folder).expect(0)
    for name in OF[provider]:
        transform = {".gitlab-ci.yml": "gitlab-ci", "azure-pipelines.yml": "azure-pipelines"}.get(name)
        checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name]]
        checker += ["--regex-variant", "nonunicode", *(["--data-transform", transform] if transform else []), name]
        found = subprocess.run(checker, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        assert found.returncode == 0, found.stdout
        assert ("DEPLOY_SECRET" in (folder / name).read_text()) == (auth == "secrets")
    bundle = yaml.safe_load((folder / "databricks.yml").read_text())
    assert list(bundle["targets"]) == ["dev", "test", "staging", "prod"]
    assert bundle["targets"]["staging"]["workspace"]["host"] == "https://staging.example.com"
    tasks = bundle["resources"]["jobs"]["promote"]["tasks"]
    assert [task["python_wheel_task"]["parameters"][2] for task in tasks] == ["churn", "fraud.v2"]
    for script in ("ci/mlflow-plan.sh", "ci/mlflow-promote.sh"):
        assert os.access(folder / script, os.X_OK)
        subprocess.run(["sh", "-n", folder / script], check=True, timeout=10)
    checked = run_tool("cicd", "check", "--repository", folder, "--json").expect(0).json
    assert checked["findings"] == []
    assert "check_jsonschema" in checked["tools"]


def test_no_token_is_kept_unless_it_is_asked_for(tmp_path: Path, run_tool: Tool) -> None:
    folder = _repository(tmp_path)
    run_tool("cicd", "init", "--models", "churn", "--repository", folder).expect(0)
    workflow = yaml.safe_load((folder / WORKFLOWS / "mlflow-promote-prod.yml").read_text())
    assert workflow["permissions"]["id-token"] == "write"
    assert workflow["jobs"]["promote"]["env"]["DATABRICKS_AUTH_TYPE"] == "github-oidc"
    assert workflow["jobs"]["promote"]["environment"] == "prod"
    assert not any("secrets." in text.decode() for text in _files(folder / ".github").values())


def test_servers_that_are_not_databricks_get_no_federation(tmp_path: Path, run_tool: Tool) -> None:
    folder = _repository(tmp_path)
    places = {name: {"uri": f"http://{name}:5000", "token_env": f"{name.upper()}_TOKEN"} for name in PATH}
    (folder / "mlflow-migration.yml").write_text(yaml.safe_dump({"places": places}))
    run_tool("cicd", "init", "--models", "churn", "--repository", folder).expect(0)
    workflow = yaml.safe_load((folder / WORKFLOWS / "mlflow-promote-prod.yml").read_text())
    assert "id-token" not in workflow["permissions"]
    variables = workflow["jobs"]["promote"]["env"]
    # What a promotion into prod reads and writes: staging and prod, and nothing of dev.
    assert sorted(variables) == ["MODELS", "PROD_TOKEN", "STAGING_TOKEN"]


def test_a_second_init_changes_nothing_and_never_replaces_what_a_person_wrote(tmp_path: Path, run_tool: Tool) -> None:
    folder = _repository(tmp_path)
    words = ("cicd", "init", "--models", "churn", "--repository", folder)
    rehearsed = run_tool(*words, "--dry-run", "--json").expect(0).json
    assert {row["state"] for row in rehearsed["files"]} == {"made"}
    assert sorted(_files(folder)) == ["mlflow-migration.yml", "promotion.yml"]
    run_tool(*words).expect(0)
    before = _files(folder)
    assert {row["state"] for row in run_tool(*words, "--json").expect(0).json["files"]} == {"same"}
    assert _files(folder) == before
    (folder / "databricks.yml").write_text("mine: true\n")
    (folder / "ci/mlflow-plan.sh").unlink()
    mine = _files(folder)
    refused = run_tool(*words).expect(2)
    assert "databricks.yml" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert _files(folder) == mine
    run_tool(*words, "--overwrite").expect(0)
    assert _files(folder) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--models", "churn; rm -rf /"), "churn; rm -rf /"),
        (("--models", "$(id)"), "$(id)"),
        (("--models", " , "), "no model"),
        (("--models", "churn", "--on-main", "nowhere"), "nowhere"),
        (("--models", "churn", "--on-main", "dev"), "nothing is promoted into 'dev'"),
        (("--models", "churn", "--auth", "secrets"), "no secret is named"),
        (("--models", "churn", "--policy", "absent.yml"), "promote init"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    words: tuple[str, ...], told: str, tmp_path: Path, run_tool: Tool
) -> None:
    folder = _repository(tmp_path)
    before = _files(folder)
    assert told in run_tool("cicd", "init", *words, "--repository", folder).expect(2).stderr
    assert _files(folder) == before


def test_a_secret_in_the_configuration_is_refused_and_not_shown(tmp_path: Path, run_tool: Tool) -> None:
    folder = _repository(tmp_path, **{"token": "dapi-very-secret"})
    refused = run_tool("cicd", "init", "--models", "churn", "--repository", folder).expect(2)
    assert "token_env" in refused.stderr
    assert "very-secret" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((".github/workflows/mlflow-promote-prod.yml", "runs-on: ubuntu-latest", "runs_on: ubuntu-latest"), "runs_on"),
        ((".github/workflows/mlflow-promote-prod.yml", "promote.sh prod", "promote.sh production"), "'production'"),
        ((".github/workflows/mlflow-promote-prod.yml", "MODELS:", f"TOKEN: dapi{'0' * 32}\n      MODELS:"), "a token"),
        (("databricks.yml", "mode: production", "mode: live"), "targets.prod.mode"),
        (("databricks.yml", "bundle:", "bundle: ["), "not YAML"),
        (("promotion.yml", "prod", "prod"), ""),
    ],
)
def test_check_names_the_file_and_what_is_wrong_in_it(
    change: tuple[str, str, str], told: str, tmp_path: Path, run_tool: Tool
) -> None:
    folder = _repository(tmp_path)
    run_tool("cicd", "init", "--models", "churn", "--repository", folder).expect(0)
    path, old, new = change
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new))
    findings = run_tool("cicd", "check", "--repository", folder, "--json").expect(1 if told else 0).json["findings"]
    assert [finding["path"] for finding in findings] == ([path] if told else [])
    assert all(told in finding["what"] for finding in findings)


def test_check_misses_a_policy_and_a_script(tmp_path: Path, run_tool: Tool) -> None:
    folder = _repository(tmp_path)
    run_tool("cicd", "init", "--models", "churn", "--repository", folder).expect(0)
    (folder / "promotion.yml").unlink()
    (folder / "ci/mlflow-promote.sh").unlink()
    found = run_tool("cicd", "check", "--repository", folder, "--json").expect(1).json
    assert {finding["path"] for finding in found["findings"]} == {"promotion.yml", "ci/mlflow-promote.sh"}
    assert json.dumps(found)


def test_check_of_a_repository_without_ci_says_what_writes_it(tmp_path: Path, run_tool: Tool) -> None:
    assert "cicd init" in run_tool("cicd", "check", "--repository", tmp_path).expect(2).stderr
