"""Everything of servers of older MLflow versions arrives, row by row, judged by MLflow's own upgrade of their database.

A copy of the old server's database is brought to the current schema by `mlflow db upgrade`; what the tool has moved
must look the same. Second runs change nothing, and `verify` says equal.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import databases, servers, tables, traces
from tests.conftest import Outcome, Tool, once
from tests.rest import Json
from tests.servers import Options, Server, Snapshot
from tests.versions import venvs

pytestmark = [pytest.mark.timeout(900), pytest.mark.versions]
VERSIONS = ("2.22.1", "3.1.4", "3.4.0")
NOT_EXPECTED = (
    # Nothing of a deleted version can be read, so that its tags are not expected.
    "DELETE FROM model_version_tags WHERE name || ' ' || version IN"
    " (SELECT name || ' ' || version FROM model_versions WHERE current_stage = 'Deleted_Internal')",
    # A server of 3.4 keeps spans in a table that no route reads, most of them beside the artifact that goes.
    "DELETE FROM spans",
    # It shows the version of its form of traces, stored or not.
    "INSERT OR IGNORE INTO trace_request_metadata (request_id, key, value)"
    " SELECT request_id, 'mlflow.trace_schema.version', '3' FROM trace_info WHERE request_id LIKE 'tr-%'",
    # The schema of an evaluation dataset is made anew from its records, since with a word about outputs.
    """UPDATE evaluation_datasets SET schema = replace(schema, '"expectations"', '"outputs": {}, "expectations"')""",
    # A server of 3.1 notes the wrong experiment beside the metrics of a logged model: always the first.
    "UPDATE logged_model_metrics SET experiment_id = (SELECT experiment_id FROM runs WHERE run_uuid = run_id)",
)
NOTHING: set[tuple[str, str, str]] = set()
# The spans of the trace sent over OTLP, which MLflow 3.4 gives by no route; and a webhook's secret, which none gives.
LOST_AT_EXPORT = dict.fromkeys(VERSIONS, NOTHING) | {"3.4.0": {("artifact", "unsupported", "trace")}}
LOST_AT_IMPORT = dict.fromkeys(VERSIONS, NOTHING) | {"3.4.0": {("secret", "unsupported", "webhook")}}


@dataclass(frozen=True)
class Old:
    """A running server of an older version, and what it holds as its database looks after MLflow's own upgrade."""

    version: str
    server: Server
    upgraded: Snapshot


@pytest.fixture(scope="session", params=VERSIONS)
def old(request: pytest.FixtureRequest, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    """A server of that version, full; tests only read it."""
    version = str(request.param)
    name = f"old-{version}"
    options = Options(python=venvs.python(version))

    def fill(folder: Path) -> Json:
        server = servers.start(folder / "server", options)
        try:
            venvs.seed(version, server.url)
            servers.photograph(server, folder / "as-it-was")
            upgraded = venvs.upgraded(server, folder / "upgraded")
        finally:
            servers.stop(server)
        for statement in NOT_EXPECTED:
            servers.execute(upgraded, statement)
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
    found = tables.differences(old.upgraded, destination)
    found += databases.compare(old.upgraded, destination)
    found += traces.compare(old.upgraded, destination)
    # Of a deleted version no server shows anything but the hole.
    return [text for text in found if "'Deleted_Internal'" not in text]


def losses(outcome: Outcome) -> set[tuple[str, str, str]]:
    """Every row of a report that tells of something that couldn't go."""
    return {(row["kind"], row["state"], row["name"].split()[0]) for row in outcome.json["rows"]}


def spans_shown(version: str, url: str) -> Json:
    """The spans of all traces by a version's own client; "" for the one the tests run with."""
    interpreter = venvs.python(version) if version else sys.executable
    command = [interpreter, str(Path(__file__).with_name("spans.py")), url]
    # A server of 2.22 answers 500 for the spans of a trace in progress, which its client repeats for minutes.
    environment = servers.clean_environment({"PYTHONWARNINGS": "ignore", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=True)
    found: Json = json.loads(done.stdout)
    return found


def test_all_of_an_old_server_arrives_through_a_bundle(
    old: Old, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    before = databases.dump(old.server)
    bundle = tmp_path / "bundle"
    export = run_tool("export-all", "--tracking-uri", old.server.url, "--output-dir", bundle, "--json")
    assert databases.dump(old.server) == before
    assert losses(export) == LOST_AT_EXPORT[old.version], export
    into = ("import-all", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    assert losses(run_tool(*into)) == LOST_AT_IMPORT[old.version]
    assert what_differs(old, destination) == []
    there = databases.dump(destination)
    again = run_tool(*into).expect(0).json
    assert all(counts["done"] == counts["updated"] == 0 for counts in again["kinds"].values())
    assert databases.dump(destination) == there
    waived = ("--allow-loss", "artifact") if LOST_AT_EXPORT[old.version] else ()
    run_tool("verify", old.server.url, destination.url, *waived).expect(0)


def test_all_of_an_old_server_arrives_by_copy(old: Old, destination: Server, run_tool: Tool) -> None:
    copy = ("copy-all", "--src-mlflow-uri", old.server.url, "--dst-mlflow-uri", destination.url, "--json")
    assert losses(run_tool(*copy)) == LOST_AT_EXPORT[old.version] | LOST_AT_IMPORT[old.version]
    assert what_differs(old, destination) == []
    there = databases.dump(destination)
    again = run_tool(*copy).json
    assert all(counts["done"] == counts["updated"] == 0 for counts in again["kinds"].values())
    assert databases.dump(destination) == there
    shown = spans_shown("", destination.url)
    assert shown
    assert shown == spans_shown(old.version, old.server.url)
