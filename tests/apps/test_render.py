"""The files of an app: what is in them, and that what they say really starts."""

import zipfile
from collections.abc import Mapping
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from mlflow_migration.apps import config, render, resources
from mlflow_migration.apps.render import Database, Deployment, Packages
from mlflow_migration.errors import UsageError
from tests.apps.runtime import put_snapshot, running
from tests.conftest import Tool

VOLUME = "/Volumes/main/ml/app"
PACKAGES = Packages("3.17.2", ("mlflow-migration==0.1.0", "mlflow==3.17.2"))


def parsed(**values: Any) -> config.AppConfig:
    return config.parsed({"name": "trial", "volume": VOLUME, **values}, "here")


def environment(files: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    return {each.pop("name"): each for each in yaml.safe_load(files["app.yaml"])["env"]}


def test_an_app_starts_the_runtime_without_a_shell() -> None:
    files = render.render(parsed(), Deployment(PACKAGES))
    assert set(files) == {"app.yaml", "requirements.txt"}
    assert yaml.safe_load(files["app.yaml"])["command"] == ["python", "-m", "mlflow_migration.apps.runtime"]
    assert files["requirements.txt"] == b"mlflow-migration==0.1.0\nmlflow==3.17.2\n"


def test_everything_configured_reaches_the_runtime() -> None:
    found = parsed(
        artifacts="dbfs:/Volumes/main/ml/files",
        workers=2,
        allowed_hosts=["mlflow.example.org"],
        job_execution=True,
        require_identity=False,
        snapshots={"seconds": 2.5, "keep": 5, "keep_days": 1},
        environment={"MLFLOW_LOGGING_LEVEL": "DEBUG"},
    )
    env = environment(render.render(found, Deployment(PACKAGES, url="https://trial-1.aws.databricksapps.com")))
    assert {name: each["value"] for name, each in env.items()} == {
        "MLFLOW_APP_BACKEND": "sqlite",
        "MLFLOW_APP_WORKERS": "2",
        "MLFLOW_APP_REQUIRE_IDENTITY": "false",
        "MLFLOW_APP_JOB_EXECUTION": "true",
        "MLFLOW_APP_VOLUME": VOLUME,
        "MLFLOW_APP_ARTIFACTS": "dbfs:/Volumes/main/ml/files",
        "MLFLOW_APP_ALLOWED_HOSTS": "trial-1.aws.databricksapps.com,mlflow.example.org",
        "MLFLOW_APP_SNAPSHOT_SECONDS": "2.5",
        "MLFLOW_APP_KEEP": "5",
        "MLFLOW_APP_KEEP_DAYS": "1",
        "MLFLOW_LOGGING_LEVEL": "DEBUG",
    }


def test_secrets_come_from_resources_alone() -> None:
    resource = {"name": "openai", "secret": {"scope": "s", "key": "k", "permission": "READ"}}
    found = parsed(environment={"OPENAI_API_KEY": {"value_from": "openai"}}, resources=[resource])
    env = environment(render.render(found, Deployment(PACKAGES, passphrase_key=resources.PASSPHRASE)))
    assert env["OPENAI_API_KEY"] == {"valueFrom": "openai"}
    assert env["MLFLOW_CRYPTO_KEK_PASSPHRASE"] == {"valueFrom": "passphrase"}


@pytest.mark.parametrize(
    ("path", "told"), [(VOLUME, {"valueFrom": "volume"}), (f"{VOLUME}/team", {"value": f"{VOLUME}/team"})]
)
def test_a_whole_volume_comes_from_its_resource_and_a_folder_of_one_by_name(path: str, told: dict[str, str]) -> None:
    env = environment(render.render(parsed(volume=path), Deployment(PACKAGES, volume_key="volume")))
    assert env["MLFLOW_APP_VOLUME"] == told


def test_a_database_is_told_by_what_gives_its_passwords() -> None:
    found = parsed(backend="lakebase", lakebase={"schema": "team", "project": "p"})
    database = Database(endpoint="projects/p/branches/production/endpoints/primary", host="h.example.org", user="sp")
    env = environment(render.render(found, Deployment(PACKAGES, database=database)))
    told = {name: each["value"] for name, each in env.items() if "LAKEBASE" in name or "PG" in name or "SCHEMA" in name}
    assert told == {
        "MLFLOW_APP_LAKEBASE_ENDPOINT": database.endpoint,
        "MLFLOW_APP_SCHEMA": "team",
        "PGHOST": "h.example.org",
        "PGUSER": "sp",
    }
    assert "MLFLOW_APP_KEEP" not in env


def test_a_file_the_platform_would_refuse_is_named_before_anything_is_uploaded() -> None:
    packages = Packages("3.17.2", ("./big.whl",), {"big.whl": b"x" * (10 * 1024**2 + 1)})
    with pytest.raises(UsageError, match=r"big\.whl: 10485761 bytes"):
        render.render(parsed(), Deployment(packages))


def test_rendering_again_writes_nothing(run_tool: Tool) -> None:
    run_tool("app", "init", "--name", "trial", "--volume", VOLUME, "--mlflow", metadata.version("mlflow"))
    for state in ("new", "same"):
        done = run_tool("app", "render", "--output-dir", "out")
        assert done.code == 0, done.stderr
        assert {line.split()[0] for line in done.stdout.splitlines()} == {state}
    assert run_tool("app", "render", "--output-dir", "dry", "--dry-run").code == 0
    assert not (run_tool.home / "dry").exists()


@pytest.mark.slow
def test_an_app_shows_pages_that_came_in_pieces(tmp_path: Path, template: Path) -> None:
    held = BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("index.html", "<html>pages of a branch</html>")
        archive.writestr("static/js/main.js", "branch()")
    folder, whole = tmp_path / "app" / "mlflow_ui", held.getvalue()
    folder.mkdir(parents=True)
    (folder / "pages.zip.001").write_bytes(whole[:100])
    (folder / "pages.zip.002").write_bytes(whole[100:])
    put_snapshot(tmp_path / "volume", template)
    with running(tmp_path / "app", tmp_path / "volume", {"MLFLOW_APP_UI": "mlflow_ui"}) as app:
        app.serving()
        assert "pages of a branch" in requests.get(app.url, timeout=10).text
        assert requests.get(f"{app.url}/static-files/static/js/main.js", timeout=10).text == "branch()"


def test_pieces_that_are_no_archive_end_the_app_with_a_clear_word(tmp_path: Path) -> None:
    folder = tmp_path / "app" / "mlflow_ui"
    folder.mkdir(parents=True)
    (folder / "pages.zip.001").write_bytes(b"PK, but no archive")
    with running(tmp_path / "app", tmp_path / "volume", {"MLFLOW_APP_UI": "mlflow_ui"}) as app:
        assert app.process.wait(60) == 2
        assert "are no archive" in app.text()
