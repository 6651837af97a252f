"""Everything of servers of older MLflow versions arrives, row by row, judged by MLflow's own upgrade of their database.

A copy of the old server's database is brought to the current schema by `mlflow db upgrade`; what the tool has moved
must look the same. Second runs change nothing, and `verify` says equal.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import databases, servers, tables, traces
from tests.conftest import Tool, once
from tests.rest import Json
from tests.servers import Options, Server, Snapshot
from tests.versions import venvs

pytestmark = [pytest.mark.versions, pytest.mark.timeout(900)]
VERSIONS = ("2.22.1", "3.1.4", "3.4.0")


@dataclass(frozen=True)
class Old:
    """A running server of an older version, and what it holds as its database looks after MLflow's own upgrade."""

    version: str
    server: Server
    upgraded: Snapshot


@pytest.fixture(scope="session", params=VERSIONS)
def old(
    request: pytest.FixtureRequest, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Old]:
    """A server of that version, full; tests only read it."""
    version = str(request.param)
    name = f"old-{version}"
    options = Options(python=venvs.python(version))

    def fill(folder: Path) -> Json:
        server = servers.start(folder / "server", options)
        try:
            venvs.seed(version, server.url)
            servers.photograph(server, folder / "as-it-was")
            upgraded = servers.photograph(server, folder / "upgraded")
        finally:
            servers.stop(server)
        command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{upgraded.database}"]
        subprocess.run(command, check=True, env=servers.clean_environment(), capture_output=True, timeout=240)
        # No server shows anything of a deleted version but the hole that it leaves.
        deleted = "SELECT name || ' ' || version FROM model_versions WHERE current_stage = 'Deleted_Internal'"
        servers.execute(upgraded, f"DELETE FROM model_version_tags WHERE name || ' ' || version IN ({deleted})")
        return {"version": version}

    once(shared_folder, name, fill)
    home = shared_folder / name
    server = servers.start(tmp_path_factory.mktemp(name), options)
    try:
        servers.reset(server, Snapshot(home / "as-it-was" / "mlflow.db", home / "as-it-was" / "artifacts"))
        yield Old(version, server, Snapshot(home / "upgraded" / "mlflow.db", home / "upgraded" / "artifacts"))
    finally:
        servers.stop(server)


def what_differs(old: Old, destination: Server) -> list[str]:
    """Rows of tables, and bytes of artifacts of runs and traces."""
    found = [text for text in tables.differences(old.upgraded, destination) if "'Deleted_Internal'" not in text]
    found += databases.compare(old.upgraded, destination)
    return found + traces.compare(old.upgraded, destination)


def test_all_of_an_old_server_arrives_through_a_bundle(
    old: Old, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    before = databases.dump(old.server)
    bundle = tmp_path / "bundle"
    export = run_tool("export-all", "--tracking-uri", old.server.url, "--output-dir", bundle, "--json")
    assert databases.dump(old.server) == before
    print(export)
    into = ("import-all", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    print(run_tool(*into))
    print("\n".join(what_differs(old, destination)))
    print(run_tool(*into))
    print(run_tool("verify", old.server.url, destination.url))
    assert 0
