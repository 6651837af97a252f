"""Where nothing is set up for a server, MLflow isn't asked about it, and would have said the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import json, sys
if sys.argv[2] == "mlflow":
    import mlflow
from mlflow_migration.server.address import Credentials, resolve
found = resolve(sys.argv[1], Credentials())
auth = found.auth(None) if callable(found.auth) else found.auth
print(json.dumps({"imported": "mlflow" in sys.modules, "host": found.host, "headers": found.headers(), "auth": auth,
                  "verify": found.verify, "cert": found.cert, "workspace": found.workspace}))
"""
PLUGIN = "[mlflow.request_header_provider]\nown = nowhere:Provider\n"


def resolved(home: Path, uri: str, first: str = "", **variables: str) -> dict[str, object]:
    """What an address is resolved to by a new interpreter that has nothing set up but these variables."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DATABRICKS_"))}
    known |= {"HOME": str(home), "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(home)]), **variables}
    command = [sys.executable, "-W", "ignore", "-c", PROBE, uri, first]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=known)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("uri", "variables"),
    [
        ("http://localhost:5000/", {}),
        ("https://user:word@host/prefix", {"MLFLOW_WORKSPACE": " team "}),
        ("http://localhost:5000", {"MLFLOW_TRACKING_URI": "http://elsewhere"}),
    ],
)
def test_it_is_what_mlflow_says_and_mlflow_stays_unimported(
    tmp_path: Path, uri: str, variables: dict[str, str]
) -> None:
    by_itself, by_mlflow = resolved(tmp_path, uri, **variables), resolved(tmp_path, uri, "mlflow", **variables)
    assert (by_itself.pop("imported"), by_mlflow.pop("imported")) == (False, True)
    assert by_itself == by_mlflow


@pytest.mark.parametrize(
    ("variable", "value", "header"),
    [
        ("MLFLOW_TRACKING_TOKEN", "abc", "Bearer abc"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "true", None),
        ("DATABRICKS_HOST", "http://x", None),
    ],
)
def test_whatever_is_set_is_mlflow_s_to_read(tmp_path: Path, variable: str, value: str, header: str | None) -> None:
    found = resolved(tmp_path, "http://localhost:5000", **{variable: value})
    headers = found["headers"]
    assert found["imported"]
    assert isinstance(headers, dict)
    assert headers.get("Authorization") == header


def test_a_file_of_credentials_is_read(tmp_path: Path) -> None:
    (tmp_path / ".mlflow").mkdir()
    text = "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = word\n"
    (tmp_path / ".mlflow" / "credentials").write_text(text)
    headers = resolved(tmp_path, "http://localhost:5000")["headers"]
    assert isinstance(headers, dict)
    assert headers["Authorization"] == "Basic bWU6d29yZA=="


def test_a_plug_in_for_headers_is_asked(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "class Provider:\n"
        "    def in_context(self):\n        return True\n"
        "    def request_headers(self):\n        return {'X-Own': 'yes'}\n"
    )
    described = tmp_path / "own-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(PLUGIN.replace("nowhere", "own"))
    headers = resolved(tmp_path, "http://localhost:5000")["headers"]
    assert isinstance(headers, dict)
    assert headers["X-Own"] == "yes"
