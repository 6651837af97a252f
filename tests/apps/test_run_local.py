"""`run_local`: the runtime in a folder of this machine."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import servers
from tests.apps.runtime import put_snapshot

PROGRAM = """
import os, pathlib, sys
from mlflow_migration.apps.local import Local, run_local
local = Local(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]), name="laptop")
sys.exit(run_local(local, os.environ))
"""


@pytest.mark.slow
def test_an_app_runs_in_a_folder_and_a_signal_to_its_caller_ends_it_whole(tmp_path: Path, template: Path) -> None:
    put_snapshot(tmp_path / "app" / "volume", template)
    port, env = servers.free_port(), servers.clean_environment({"MLFLOW_APP_BACKEND": "none of this"})
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, tmp_path / "app", str(port)], env=env, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        found: dict[str, Any] = {}
        while found.get("state") != "serving":
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
            with contextlib.suppress(requests.RequestException):
                found = requests.get(f"http://127.0.0.1:{port}/mlflow-app/status.json", timeout=5).json()
        assert found["app"] == "laptop"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        if process.poll() is None:
            process.kill()
    assert not (tmp_path / "app" / "state" / "mlflow.db").exists()
    assert (tmp_path / "app" / "volume" / "latest.json").exists()
