"""What an older destination has no place for is told, object by object; all else arrives whole."""

from pathlib import Path

import pytest

from tests import databases, genai, traces
from tests.conftest import Outcome, ServerFactory, Tool
from tests.rest import Api
from tests.servers import Options, Server
from tests.versions import venvs

pytestmark = [pytest.mark.versions, pytest.mark.timeout(900)]
MISSING = {
    "2.22.1": {"logged_model", "issue", "trace", "label_schema"},
    "3.1.4": {"issue", "trace", "label_schema"},
}


def add_newer_kinds(source: Server) -> None:
    """A logged model, an issue, a label schema and a trace."""
    api = Api(source.url)
    experiment_id = api.post("experiments/create", name="newer kinds")["experiment_id"]
    model = api.post("logged-models", experiment_id=experiment_id, name="model")["model"]["info"]["model_id"]
    ready = {"model_id": model, "status": "LOGGED_MODEL_READY"}
    api.call("PATCH", f"/api/2.0/mlflow/logged-models/{model}", json=ready)
    home = {"experiment_id": experiment_id}
    genai.call(source, "POST", "issues", json={"name": "slow", "description": "so slow", **home})
    schema = {"name": "good", "type": "FEEDBACK", "input": {"text": {}}, **home}
    schema_id = genai.call(source, "POST", "label-schemas/create", json=schema)["label_schema"]["schema_id"]
    queue = {"name": "queue", "queue_type": "CUSTOM", "schema_ids": [schema_id], **home}
    genai.call(source, "POST", "review-queues/create", json=queue)
    traces.log_spans(api, experiment_id, traces.span("a" * 32, 1))
    traces.start(api, experiment_id, "tr-" + "a" * 32)
    api.close()


def unsupported(outcome: Outcome, version: str) -> set[str]:
    """The kinds that are told to be too new, each row with its reason."""
    for row in outcome.json["rows"]:
        assert row["state"] == "unsupported", row
        assert row["reason"].startswith(f"this server ({version}) "), row
    return {row["kind"] for row in outcome.json["rows"]}


@pytest.mark.parametrize("version", MISSING)
def test_what_an_older_destination_cannot_hold_is_told(
    version: str, source: Server, make_server: ServerFactory, run_tool: Tool, tmp_path: Path
) -> None:
    add_newer_kinds(source)
    destination = make_server(Options(python=venvs.python(version)))
    copy = ("copy-all", "--src-mlflow-uri", source.url, "--dst-mlflow-uri", destination.url, "--json")
    expected = MISSING[version] | {"review_queue"}
    nothing = databases.dump(destination)
    assert unsupported(run_tool(*copy, "--dry-run").expect(1), version) == expected
    assert databases.dump(destination) == nothing
    assert unsupported(run_tool(*copy).expect(1), version) == expected
    assert databases.compare(source, venvs.upgraded(destination, tmp_path / "upgraded")) == []
    there = databases.dump(destination)
    again = run_tool(*copy).expect(1).json
    assert all(counts["done"] == counts["updated"] == counts["failed"] == 0 for counts in again["kinds"].values())
    assert databases.dump(destination) == there
