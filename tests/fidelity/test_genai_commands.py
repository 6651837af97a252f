"""The commands for prompts, traces, logged models and evaluation datasets: what was asked for moves, and that alone."""

import json
from pathlib import Path
from typing import Any

from tests import databases, genai, rest, traces
from tests.conftest import Tool
from tests.genai import call, rows
from tests.rest import API, Api
from tests.servers import Server

PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}


def prompt(api: Api, name: str, *texts: str) -> None:
    api.post("registered-models/create", name=name, description=f"about {name}", tags=[PROMPT])
    for text in texts:
        tags = [PROMPT, {"key": "mlflow.prompt.text", "value": text}]
        api.post("model-versions/create", name=name, source="dummy-source", tags=tags)


def texts(server: Server) -> list[tuple[Any, ...]]:
    """Name, number and text of each prompt version that isn't deleted."""
    query = (
        "SELECT v.name, v.version, t.value FROM model_versions v JOIN model_version_tags t ON t.name = v.name"
        " AND t.version = v.version WHERE t.key = 'mlflow.prompt.text' AND v.current_stage != 'Deleted_Internal'"
        " ORDER BY 1, 2"
    )
    return rows(server, query)


def test_prompts_move_by_name_and_version(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    api = Api(empty_source.url)
    prompt(api, "greet", "Hi", "Hello {{name}}")
    prompt(api, "part", "Bye")
    genai.experiment(empty_source, "not asked for")
    here, there = ("--tracking-uri", empty_source.url), ("--tracking-uri", destination.url)
    one, all_ = tmp_path / "one", tmp_path / "all"
    run_tool("export-prompt", "--prompt-name", "greet", "--prompt-version", "2", "--output-dir", one, *here).expect(0)
    run_tool("import-prompt", "--input-dir", one, "--prompt-name", "hello", *there).expect(0)
    assert texts(destination) == [("hello", 2, "Hello {{name}}")]
    run_tool("export-prompts", "--prompts", "gre*,part", "--output-dir", all_, *here).expect(0)
    run_tool("verify", empty_source.url, all_).expect(0)
    assert "import-prompts" in run_tool("import-prompt", "--input-dir", all_, *there).expect(2).stderr
    api = Api(destination.url)
    prompt(api, "greet", "theirs", "theirs", "theirs")
    run_tool("import-prompts", "--input-dir", all_, *there).expect(1)
    assert ("greet", 1, "theirs") in texts(destination)
    run_tool("import-prompts", "--input-dir", all_, *there, "--delete-prompt", "True").expect(0)
    expected = [("greet", 1, "Hi"), ("greet", 2, "Hello {{name}}"), ("hello", 2, "Hello {{name}}"), ("part", 1, "Bye")]
    assert texts(destination) == expected
    # Under a second name the prompt is there twice, and that is told.
    twice = run_tool("verify", all_, destination.url, "--json").expect(1).json["differences"]
    assert {(row["sign"], row["name"], row["field"]) for row in twice} == {
        ("+", "hello", "duplicate"),
        ("+", "hello/2", "duplicate"),
    }
    assert set(genai.names(destination).values()) == {"Default"}
    missing = ("export-prompts", "--prompts", "nobody", "--output-dir", tmp_path / "none", *here)
    assert "no such prompt: 'nobody'" in run_tool(*missing).expect(1).stderr


def test_traces_move_alone_or_by_experiment(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    api = Api(empty_source.url)
    chat, other = genai.experiment(empty_source, "chat"), genai.experiment(empty_source, "other")
    ids = [f"tr-{number:032x}" for number in (1, 2, 3)]
    for trace_id, experiment in zip(ids, (chat, chat, other), strict=True):
        traces.log_spans(api, experiment, traces.span(trace_id.removeprefix("tr-"), 1))
        traces.start(api, experiment, trace_id)
    here, there = ("--tracking-uri", empty_source.url), ("--tracking-uri", destination.url)
    one, some = tmp_path / "one", tmp_path / "some"
    run_tool("export-trace", "--request-id", ids[1], "--output-dir", one, *here).expect(0)
    run_tool("verify", empty_source.url, one).expect(0)
    run_tool("import-trace", "--input-dir", one, "--experiment-name", "renamed", *there).expect(0)
    query = "SELECT t.request_id, e.name FROM trace_info t JOIN experiments e ON e.experiment_id = t.experiment_id"
    assert rows(destination, query) == [(ids[1], "renamed")]
    assert rows(destination, "SELECT trace_id FROM spans") == [(ids[1],)]
    run_tool("export-traces", "--experiment-ids", other, "--output-dir", some, *here).expect(0)
    into = ("import-traces", "--input-dir", some, *there)
    run_tool(*into).expect(0)
    assert sorted(rows(destination, query)) == [(ids[1], "renamed"), (ids[2], "other")]
    run_tool("verify", some, destination.url).expect(0)
    before = databases.dump(destination)
    run_tool(*into).expect(0)
    assert databases.dump(destination) == before
    gone = ("export-trace", "--request-id", "tr-none", "--output-dir", tmp_path / "none", *here)
    assert "no such trace: 'tr-none'" in run_tool(*gone).expect(1).stderr
    assert not (tmp_path / "none").exists()


def test_logged_models_move_alone_or_by_experiment(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    api = Api(empty_source.url)
    experiment = genai.experiment(empty_source, "agents")
    ids = {}
    for name in ("one", "two"):
        body = {"experiment_id": experiment, "name": name}
        info = api.call("POST", f"{API}logged-models", json=body).json()["model"]["info"]
        ids[name] = info["model_id"]
        rest.upload(api, info["artifact_uri"], "MLmodel", f"model_id: {info['model_id']}\n".encode())
    here, there = ("--tracking-uri", empty_source.url), ("--tracking-uri", destination.url)
    one, both = tmp_path / "one", tmp_path / "both"
    run_tool("export-logged-model", "--model-id", ids["two"], "--output-dir", one, *here).expect(0)
    run_tool(
        "import-logged-model", "--input-dir", one, "--experiment-name", "new", "--mlmodel-fix", "True", *there
    ).expect(0)
    query = (
        "SELECT m.name, e.name, m.model_id, m.artifact_location FROM logged_models m"
        " JOIN experiments e ON e.experiment_id = m.experiment_id ORDER BY 2, 1"
    )
    ((name, into, model_id, uri),) = rows(destination, query)
    assert (name, into) == ("two", "new")
    assert rest.download(Api(destination.url), uri, "MLmodel").decode() == f"model_id: {model_id}\n"
    run_tool("export-logged-models", "--experiment-ids", experiment, "--output-dir", both, *here).expect(0)
    run_tool("import-logged-models", "--input-dir", both, *there).expect(0)
    assert [row[:2] for row in rows(destination, query)] == [("one", "agents"), ("two", "agents"), ("two", "new")]
    run_tool("verify", both, destination.url).expect(0)


def test_evaluation_datasets_move_by_name_or_id(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    experiment = genai.experiment(empty_source, "evaluation")
    ids = []
    for server, name, tied in (
        (empty_source, "golden", []),
        (empty_source, "golden", [experiment]),
        (destination, "golden", []),
    ):
        body = {"name": name, "experiment_ids": tied, "tags": "{}"}
        ids.append(call(server, "POST", "datasets/create", json=body)["dataset"]["dataset_id"])
        records = json.dumps([{"inputs": {"q": len(ids)}, "expectations": {"a": 1}}])
        call(server, "POST", f"datasets/{ids[-1]}/records", json={"records": records})
    here, there = ("--tracking-uri", empty_source.url), ("--tracking-uri", destination.url)
    one, both = tmp_path / "one", tmp_path / "both"
    run_tool("export-evaluation-dataset", "--output-dir", one, *here).expect(2)
    run_tool("export-evaluation-dataset", "--dataset-id", ids[0], "--output-dir", one, *here).expect(0)
    run_tool("verify", empty_source.url, one).expect(0)
    into = ("import-evaluation-dataset", "--input-dir", one, *there)
    run_tool(*into, "--evaluation-dataset-name", "renamed").expect(0)
    query = (
        "SELECT d.name, r.inputs FROM evaluation_datasets d JOIN evaluation_dataset_records r"
        " ON r.dataset_id = d.dataset_id ORDER BY 1, 2"
    )
    assert rows(destination, query) == [("golden", '{"q": 3}'), ("renamed", '{"q": 1}')]
    run_tool("export-evaluation-datasets", "--evaluation-datasets", "gold*", "--output-dir", both, *here).expect(0)
    many = ("import-evaluation-datasets", "--input-dir", both, *there, "--delete-evaluation-dataset", "True")
    lost = run_tool(*many, "--json").expect(1).json
    assert [row["kind"] for row in lost["rows"]] == ["link"]
    assert [row[1] for row in rows(destination, query) if row[0] == "golden"] == ['{"q": 2}']
    assert ("renamed", '{"q": 1}') in rows(destination, query)
