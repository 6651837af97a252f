"""Virtual environments of other MLflow versions, made once for a machine."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests import servers
from tests.servers import Server, Snapshot

PINS = ("setuptools<81", "sqlalchemy<2.1", "opentelemetry-sdk<1.34", "opentelemetry-proto<1.34", "fastapi<0.120")
"""The last releases that these versions of MLflow start and write traces with, and what installs beside them."""


def folder() -> Path:
    """Where they are kept: MLFLOW_MIGRATION_TEST_VENVS, or a folder of the user's cache."""
    chosen = os.environ.get("MLFLOW_MIGRATION_TEST_VENVS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else cache / "mlflow-migration-tests"


def python(version: str) -> str:
    """The interpreter that has this MLflow. The first call installs it, which takes about a minute."""
    home = folder() / f"{version}-python{sys.version_info.major}.{sys.version_info.minor}"
    home.parent.mkdir(parents=True, exist_ok=True)
    interpreter = home / "bin" / "python"
    with home.with_name(home.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            _run(sys.executable, "-m", "venv", "--clear", str(home))
            _run(str(interpreter), "-m", "pip", "install", "--quiet", f"mlflow=={version}", *PINS)
            (home / "ready").touch()
    return str(interpreter)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=900, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")


def seed(version: str, url: str) -> None:
    """Fill the server at `url` by the client of that version."""
    environment = servers.clean_environment({"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false", "PYTHONWARNINGS": "ignore"})
    command = [python(version), str(Path(__file__).with_name("seed.py")), url]
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", timeout=240, check=False, cwd=folder()
    )
    if done.returncode:
        raise RuntimeError(f"seeding {version} failed:\n{done.stderr[-5000:]}")


def upgraded(server: Server, folder: Path) -> Snapshot:
    """A copy of what an older server holds, its database brought to the current schema by MLflow itself."""
    taken = servers.photograph(server, folder)
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{taken.database}"]
    subprocess.run(command, check=True, env=servers.clean_environment(), capture_output=True, timeout=240)
    return taken
