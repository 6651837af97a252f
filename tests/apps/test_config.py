"""`mlflow-app.yml`: what is wrong in it is named at once; changes leave the rest of the file as it is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_migration.apps import config
from mlflow_migration.cli import app_options
from mlflow_migration.errors import UsageError
from tests.conftest import Tool

MINIMAL: dict[str, Any] = {"name": "trial", "volume": "/Volumes/main/ml/app"}
FILE = """\
# The app of the team.
name: trial
volume: /Volumes/main/ml/app  # made by the platform team
# 3.17 is what our clients have.
mlflow: 3.17.2
snapshots:
  # every ten seconds
  seconds: 10
permissions:
- group: data
  level: CAN_USE
# The end.
"""


def write(tool: Tool, text: str) -> Path:
    tool.home.mkdir(parents=True, exist_ok=True)
    path = tool.home / "mlflow-app.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "Trial"}, "name"),
        ({"nmae": "x"}, "nmae"),
        ({"mlflow": "newest"}, "mlflow"),
        ({"mlflow": {"git": "main"}}, "mlflow"),
        ({"backend": "mysql"}, "backend"),
        ({"volume": ""}, "volume: needed"),
        ({"volume": "relative/folder"}, "volume: /Volumes/"),
        ({"volume": "/"}, "volume: /Volumes/"),
        ({"volume": "file:///"}, "volume: /Volumes/"),
        ({"workers": 0}, "workers"),
        ({"compute": "HUGE"}, "compute"),
        ({"environment": {"MLFLOW_APP_BACKEND": "x"}}, "MLFLOW_APP_BACKEND is set by the app"),
        ({"environment": {"MLFLOW_CRYPTO_KEK_PASSPHRASE": "x"}}, "is set by the app"),
        ({"environment": {"OPENAI_API_KEY": "sk-1"}}, "OPENAI_API_KEY looks like a secret"),
        ({"environment": {"OPENAI_API_KEY": {"value_from": "openai"}}}, "resources has none named openai"),
        ({"environment": {"SSH_PRIVATE_KEY": "x"}}, "SSH_PRIVATE_KEY looks like a secret"),
        ({"environment": {"STORE": "postgresql://ann:pw@host/db"}}, "STORE looks like a secret"),
        ({"environment": {"A B": "x"}}, "'A B' is no name of a variable"),
        ({"artifacts": "s3://key:secret@bucket"}, "artifacts: a password"),
        ({"volume": "/Volumes/main/ml/../other/app"}, "volume: /Volumes/"),
        ({"volume": "/srv/mlflow\nExecStartPre=/bin/true"}, "volume: /Volumes/"),
        ({"permissions": [{"user": "a", "group": "b"}]}, "give one of user, group"),
        ({"package": {"test_index": True, "wheel": "x.whl"}}, "give one of index"),
        ({"package": {"index": "https://ann:secret@example.org/simple"}}, "password"),
        ({"lakebase": {"project": "p"}}, "only for backend: lakebase"),
        ({"experiment_prefix": "/Shared"}, "only for backend: databricks"),
        ({"workspace_path": "/Users/ann"}, "begins with /Workspace/"),
    ],
)
def test_what_cannot_be_is_named(run_tool: Tool, values: dict[str, Any], said: str) -> None:
    write(run_tool, yaml.safe_dump({**MINIMAL, **values}))
    done = run_tool("app", "config", "validate")
    assert done.code == 2
    assert said in done.stderr
    assert "sk-1" not in done.stderr


def test_every_fault_is_named_in_one_message(run_tool: Tool) -> None:
    write(run_tool, "name: NO\nworkers: 99\nbackend: x\nunknown: 1\n")
    done = run_tool("app", "config", "validate", "--json")
    told = json.loads(done.stdout)["error"]["message"] + done.stderr
    assert all(key in told for key in ("name", "workers", "backend", "unknown"))


def test_a_variable_may_take_its_value_from_a_resource() -> None:
    resource = {"name": "openai", "secret": {"scope": "s", "key": "k", "permission": "READ"}}
    environment = {"OPENAI_API_KEY": {"value_from": "openai"}}
    found = config.parsed({**MINIMAL, "environment": environment, "resources": [resource]}, "here")
    assert config.plain(found)["environment"] == environment


def test_a_key_in_the_file_and_beside_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"given twice: mlflow, name"):
        config.with_arguments({**MINIMAL, "mlflow": "latest"}, {"name": "other", "mlflow": "3.17.2"}, "mlflow-app.yml")
    assert config.with_arguments({"name": "trial"}, {"volume": MINIMAL["volume"]}, "x").name == "trial"


def test_changes_leave_comments_and_other_keys_as_they_are(run_tool: Tool) -> None:
    path = write(run_tool, FILE)
    done = run_tool("app", "config", "set", "mlflow=git:someone/branch", "workers=2", "permissions=")
    assert done.code == 0, done.stderr
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {
        **{key: value for key, value in yaml.safe_load(FILE).items() if key != "permissions"},
        "mlflow": {"git": "someone/branch"},
        "workers": 2,
    }
    for comment in ("# The app of the team.", "# made by", "# 3.17 is", "# every ten seconds", "# The end."):
        assert comment in text


def test_a_version_that_looks_like_a_number_stays_a_version(run_tool: Tool) -> None:
    path = write(run_tool, FILE)
    assert run_tool("app", "config", "set", "mlflow=3.10").code == 0
    assert yaml.safe_load(path.read_text())["mlflow"] == "3.10"


@pytest.mark.parametrize("assignment", ["workers=many", "nothing=1", "snapshots.weeks=2", "volume=", "=1", "workers"])
def test_a_change_that_cannot_be_changes_nothing(run_tool: Tool, assignment: str) -> None:
    path = write(run_tool, FILE)
    assert run_tool("app", "config", "set", "compute=LARGE", assignment).code == 2
    assert path.read_text(encoding="utf-8") == FILE


def test_setting_what_is_set_writes_nothing(run_tool: Tool) -> None:
    path = write(run_tool, FILE)
    before = path.stat().st_mtime_ns
    done = run_tool("app", "config", "set", "mlflow=3.17.2", "snapshots.seconds=10", "--json")
    assert json.loads(done.stdout)["changed"] == {}
    assert path.stat().st_mtime_ns == before


def test_a_dry_run_tells_the_change_and_writes_nothing(run_tool: Tool) -> None:
    path = write(run_tool, FILE)
    done = run_tool("app", "config", "set", "compute=LARGE", "--dry-run")
    assert "compute: the default → LARGE" in done.stdout
    assert path.read_text(encoding="utf-8") == FILE


def test_a_file_in_another_style_is_changed_as_well(run_tool: Tool) -> None:
    path = write(run_tool, '{"name": "trial", "volume": "/Volumes/main/ml/app"}')
    assert run_tool("app", "config", "set", "workers=3").code == 0
    assert yaml.safe_load(path.read_text()) == {**MINIMAL, "workers": 3}


def test_the_configuration_in_force_is_shown_with_its_defaults(run_tool: Tool) -> None:
    write(run_tool, FILE)
    found = json.loads(run_tool("app", "config", "show", "--json").stdout)
    assert (found["config"]["mlflow"], found["config"]["backend"]) == ("3.17.2", "sqlite")
    assert yaml.safe_load(run_tool("app", "config", "show").stdout) == found["config"]


def test_without_a_file_it_is_said_how_to_get_one(run_tool: Tool) -> None:
    done = run_tool("app", "config", "show")
    assert (done.code, "app init" in done.stderr) == (2, True)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nname: trial\n"


@pytest.mark.parametrize(
    "text", ["- a\n- b\n", "name: [", "\x00", "a: &a [*a]", BOMB, f"{FILE}volume: /Volumes/main/ml/other\n"]
)
def test_a_file_that_is_no_configuration_is_refused(run_tool: Tool, text: str) -> None:
    write(run_tool, text)
    done = run_tool("app", "config", "validate")
    assert (done.code, "Traceback" in done.stderr) == (2, False)


def test_the_schema_accepts_what_the_tool_accepts(run_tool: Tool) -> None:
    good = write(run_tool, FILE)
    bad = run_tool.home / "bad.yml"
    bad.write_text(yaml.safe_dump({**MINIMAL, "nmae": 1}))
    schema = run_tool.home / "schema.json"
    schema.write_text(run_tool("app", "config", "validate", "--schema").stdout)
    check = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(schema)]
    assert [subprocess.run([*check, str(path)], check=False).returncode for path in (good, bad)] == [0, 1]


def test_the_file_that_is_looked_for_is_the_one_that_is_written() -> None:
    assert app_options.FILE == config.FILE
