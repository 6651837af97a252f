"""MLflow's own demo data: every prompt, trace, span, assessment, record, scorer, issue, schema and queue arrives."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import databases, servers, tables
from tests.conftest import ServerPool, Tool, once
from tests.rest import Json
from tests.servers import Server, Snapshot

KINDS = {"assessments", "evaluation_dataset_records", "issues", "label_schemas", "model_versions"}
KINDS |= {"review_queue_items", "runs", "scorer_versions", "spans", "trace_info", "trace_request_metadata"}


@pytest.fixture
def demo(shared_folder: Path, template: Path, server_pool: ServerPool) -> Server:
    """A server that holds what `mlflow demo` makes; it is made once."""
    server = server_pool("source")

    def fill(folder: Path) -> Json:
        servers.reset(server, Snapshot(template))
        command = [sys.executable, "-m", "mlflow", "demo", "--tracking-uri", server.url, "--no-browser"]
        subprocess.run(command, check=True, env=servers.clean_environment(), capture_output=True, timeout=240)
        servers.photograph(server, folder)
        return {"made": True}

    once(shared_folder, "demo-data", fill)
    folder = shared_folder / "demo-data"
    servers.reset(server, Snapshot(folder / "mlflow.db", folder / "artifacts"))
    return server


def test_the_demo_data_arrives_through_a_bundle_row_by_row(
    demo: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    assert tables.counts(demo).keys() >= KINDS
    before = databases.dump(demo)
    run_tool(
        "export-all", "--tracking-uri", demo.url, "--output-dir", tmp_path / "b", "--allow-loss", "metadata"
    ).expect(0)
    assert databases.dump(demo) == before
    run_tool("import-all", "--tracking-uri", destination.url, "--input-dir", tmp_path / "b").expect(0)
    assert tables.differences(demo, destination) == []
    run_tool("verify", demo.url, tmp_path / "b").expect(0)
    there = databases.dump(destination)
    run_tool("import-all", "--tracking-uri", destination.url, "--input-dir", tmp_path / "b").expect(0)
    assert databases.dump(destination) == there


@pytest.mark.slow
def test_the_demo_data_arrives_by_copy_row_by_row(demo: Server, destination: Server, run_tool: Tool) -> None:
    copy = ("copy-all", "--src-mlflow-uri", demo.url, "--dst-mlflow-uri", destination.url)
    run_tool(*copy).expect(0)
    assert tables.differences(demo, destination) == []
    there = databases.dump(destination)
    run_tool(*copy).expect(0)
    assert databases.dump(destination) == there
    run_tool("verify", demo.url, destination.url).expect(0)
