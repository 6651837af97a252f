"""Bundles of former versions are readable for good: proven whole, and imported as they were meant."""

import shutil
from pathlib import Path

import pytest

from tests import databases, golden, traces
from tests.conftest import Tool
from tests.genai import rows
from tests.servers import Server

FOLDERS = sorted(path.name for path in Path(golden.__file__).parent.glob("format-*"))
ONE_EACH = ["run", "logged_model", "registered_model", "model_version", "prompt", "prompt_version", "issue"]
ONE_EACH += ["evaluation_dataset", "scorer", "label_schema", "review_queue", "webhook"]
OBJECTS = {"experiment": 2, "trace": 2, **dict.fromkeys(ONE_EACH, 1)}
HELD: dict[str, list[tuple[object, ...]]] = {
    "SELECT name, lifecycle_stage FROM experiments ORDER BY 1": [("Default", "active"), ("golden", "active")],
    "SELECT value FROM experiment_tags WHERE key = 'why'": [("ü",)],
    "SELECT name, status, start_time, end_time FROM runs": [("golden é", "FINISHED", 1600000000000, 1600000000009)],
    "SELECT key, value FROM params": [("rate", "0.1")],
    "SELECT step, timestamp - 1600000000000, value FROM metrics WHERE key = 'loss' ORDER BY 1": [
        (0, 0, 1.0),
        (1, 1, 0.5),
        (2, 2, 1 / 3),
        (3, 3, 0.25),
        (4, 4, 0.2),
    ],
    "SELECT name, model_type, status FROM logged_models": [("forest", "tree", 2)],
    "SELECT name, description FROM registered_models ORDER BY 1": [("greet", ""), ("wine", "red")],
    "SELECT alias, name, version FROM registered_model_aliases": [("champion", "wine", 1)],
    "SELECT name, version FROM model_versions ORDER BY 1": [("greet", 1), ("wine", 1)],
    "SELECT value FROM model_version_tags WHERE key = 'mlflow.prompt.text'": [("Hello {{name}}",)],
    "SELECT name, description FROM issues": [("slow", "d")],
    "SELECT request_id, timestamp_ms, execution_time_ms, status FROM trace_info ORDER BY 1": [
        (f"tr-{1:032x}", 1700000000123, 1864, "OK"),
        (f"tr-{2:032x}", 1700000000123, 1864, "OK"),
    ],
    "SELECT trace_id, name, start_time_unix_nano FROM spans ORDER BY 1, 2": [
        (f"tr-{number:032x}", f"span {index}", 1_700_000_000_123_456_789 + index)
        for number in (1, 2)
        for index in (1, 2)
    ],
    "SELECT assessment_id, name, source_id FROM assessments": [("a-1", "good", "she@example.com")],
    "SELECT name FROM evaluation_datasets": [("questions",)],
    "SELECT inputs, outputs FROM evaluation_dataset_records": [
        ('{"q": "why?"}', '{"mlflow_wrapped": {"a": 42}}'),
    ],
    "SELECT scorer_name, scorer_version FROM scorers JOIN scorer_versions USING (scorer_id)": [("polite", 1)],
    "SELECT name, type FROM label_schemas WHERE NOT is_default": [("fine?", "feedback")],
    "SELECT name, item_id FROM review_queues JOIN review_queue_items USING (queue_id)": [("to do", f"tr-{1:032x}")],
    "SELECT name, url, status FROM webhooks": [("hook", "https://8.8.8.8/hook", "DISABLED")],
}
"""What a server holds after the import, checked by hand against `tests/golden/__main__.py`."""


@pytest.mark.parametrize("name", FOLDERS)
def test_a_golden_bundle_is_whole_and_arrives(name: str, destination: Server, run_tool: Tool, tmp_path: Path) -> None:
    bundle = tmp_path / name
    shutil.copytree(Path(golden.__file__).parent / name, bundle)
    run_tool("verify", bundle).expect(0)
    report = run_tool("import-all", "--input-dir", bundle, "--tracking-uri", destination.url, "--json").expect(1).json
    assert {kind: report["kinds"][kind]["asked"] for kind in OBJECTS} == OBJECTS
    assert [(row["kind"], row["state"]) for row in report["rows"]] == [("secret", "unsupported")]
    assert {query: rows(destination, query) for query in HELD} == HELD
    files = {path: file.read_bytes() for path, file in databases.files(destination.artifacts or tmp_path).items()}
    assert sorted(data for path, data in files.items()) == [b"\x00PNG", b"\x00PNG", b"sunny\n"]
    assert all(path.endswith(("notes/day 1.txt", traces.IMAGE)) for path in files)
    there = databases.dump(destination)
    run_tool("import-all", "--input-dir", bundle, "--tracking-uri", destination.url)
    assert databases.dump(destination) == there
