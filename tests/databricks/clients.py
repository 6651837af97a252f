"""The real clients in a process of their own, with an environment of their own."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import servers

SECONDS = 240
# What a script gets: the SDK and MLflow's client, and `tell(…)` for the one answer the test looks at.
PROLOGUE = """
import io, json, os, sys, tempfile
from pathlib import Path
def tell(answer):
    Path(sys.argv[1]).write_text(json.dumps(answer))
"""


def run(folder: Path, script: str, environment: Mapping[str, str]) -> Any:
    """What `script` told; fails the test with its output when it fails. Nothing of the caller's environment gets in."""
    folder.mkdir(parents=True, exist_ok=True)
    told, file = folder / "told.json", folder / "script.py"
    told.unlink(missing_ok=True)
    file.write_text(PROLOGUE + textwrap.dedent(script))
    home = {"HOME": str(folder), "MLFLOW_TRACKING_URI": "databricks", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    done = subprocess.run(
        [sys.executable, str(file), str(told)],
        cwd=folder,
        env=servers.clean_environment({**home, **environment}),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return json.loads(told.read_text())
