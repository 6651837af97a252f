"""Label schemas and review queues: questions, people, traces and what has been done with them."""

from pathlib import Path
from typing import Any

from tests import databases, genai
from tests.conftest import Tool
from tests.genai import call
from tests.servers import Server

ALL = ("--experiments", "all", "--json")
TRACES = ["tr-" + char * 32 for char in "abcd"]
INPUTS: list[dict[str, Any]] = [
    {"pass_fail": {"positive_label": "ja", "negative_label": "nein"}},
    {"text": {"max_length": 5}},
    {"text": {}},
    {"numeric": {"min_value": -0.5, "max_value": 1e9}},
    {"categorical": {"options": ["ä", "b"], "multi_select": True}},
]


def trace(server: Server, experiment_id: str, trace_id: str) -> None:
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
    info = {"trace_id": trace_id, "trace_location": location, "request_time": "2020-01-01T00:00:00Z", "state": "OK"}
    call(server, "POST", "traces", json={"trace": {"trace_info": info}})


def schema(server: Server, experiment_id: str, name: str, input_: dict[str, Any], **more: Any) -> str:
    body = {"experiment_id": experiment_id, "name": name, "type": "FEEDBACK", "input": input_, **more}
    return str(call(server, "POST", "label-schemas/create", json=body)["label_schema"]["schema_id"])


def seed(server: Server) -> dict[str, str]:
    """Experiment "one" whose reviews were opened, and "two" whose were not."""
    one, two = genai.experiment(server, "one"), genai.experiment(server, "two")
    ids = [schema(server, one, f"q {n}/é", each, instruction="how?") for n, each in enumerate(INPUTS)]
    wanted = schema(server, one, "wanted", {"text": {}}, type="EXPECTATION", enable_comment=True)
    call(server, "GET", "label-schemas/list", params={"experiment_id": one})
    hidden = schema(server, two, "asked by a queue", {"text": {}})
    for trace_id in TRACES:
        trace(server, one, trace_id)
    body = {"experiment_id": one, "name": "My Queue é", "queue_type": "CUSTOM", "users": ["ann", "bob"]}
    queue = call(server, "POST", "review-queues/create", json={**body, "schema_ids": [ids[1], wanted]})
    queue_id = str(queue["review_queue"]["queue_id"])
    call(server, "POST", "review-queues/update", json={"queue_id": queue_id, "new_owner": "Boss"})
    call(server, "POST", "review-queues/items/add", json={"queue_id": queue_id, "item_ids": TRACES[:3]})
    for item, status in ((TRACES[0], "COMPLETE"), (TRACES[1], "DECLINED")):
        done = {"queue_id": queue_id, "item_id": item, "status": status, "completed_by": "bob"}
        call(server, "POST", "review-queues/items/set-status", json=done)
    mine = call(server, "POST", "review-queues/get-or-create-user", json={"experiment_id": one, "user": "carl"})
    mine_id = mine["review_queue"]["queue_id"]
    call(server, "POST", "review-queues/items/add", json={"queue_id": mine_id, "item_ids": TRACES[3:]})
    body = {"experiment_id": two, "name": "empty", "queue_type": "CUSTOM", "schema_ids": [hidden]}
    call(server, "POST", "review-queues/create", json=body)
    return {"one": one, "two": two, "queue": queue_id, "text": ids[1]}


def schemas(server: Server) -> list[Any]:
    names = genai.names(server)
    statement = (
        "SELECT experiment_id, name, type, input_type, input_config, instruction, enable_comment, is_default "
        "FROM label_schemas"
    )
    found = genai.rows(server, statement)
    return sorted(((names[str(row[0])], *row[1:]) for row in found), key=repr)


def queues(server: Server) -> list[Any]:
    names = genai.names(server)
    found = []
    for id_, experiment_id, *fields in genai.rows(
        server, "SELECT queue_id, experiment_id, name, queue_type, created_by FROM review_queues"
    ):
        users = genai.rows(server, "SELECT user_id FROM review_queue_users WHERE queue_id = ? ORDER BY 1", id_)
        asked = "SELECT name FROM review_queue_label_schemas q JOIN label_schemas s USING (schema_id) "
        items = "SELECT item_type, item_id, status, completed_by FROM review_queue_items WHERE queue_id = ? ORDER BY 2"
        questions = genai.rows(server, asked + "WHERE q.queue_id = ? ORDER BY 1", id_)
        found.append((names[str(experiment_id)], fields, users, questions, genai.rows(server, items, id_)))
    return sorted(found, key=repr)


def with_traces(destination: Server) -> None:
    """The experiment with its traces, as they are when queues are written: after all traces."""
    for trace_id in TRACES:
        trace(destination, genai.experiment_id(destination, "one"), trace_id)


def test_schemas_and_queues_are_copied_and_a_second_copy_adds_nothing(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    ids = seed(empty_source)
    before = databases.dump(empty_source)
    genai.experiment(destination, "another, so that ids differ")
    copy = ("copy-experiments", *genai.pair(empty_source, destination), *ALL, "--allow-loss", "trace")
    nothing = databases.dump(destination)
    run_tool(*copy, "--dry-run")
    assert databases.dump(destination) == nothing
    # Without its traces a queue is made, and each trace it lacks is told; the next job puts them in.
    report = run_tool(*copy).json
    if genai.rows(destination, "SELECT COUNT(*) FROM trace_info") == [(0,)]:
        losses = [row["name"] for row in report["rows"] if row["kind"] == "link"]
        assert len(losses) == 4
        assert all("trace tr-" in name for name in losses)
        with_traces(destination)
        report = run_tool(*copy).expect(0).json
    assert schemas(destination) == schemas(empty_source)
    assert queues(destination) == queues(empty_source)
    assert databases.dump(empty_source) == before
    after = databases.dump(destination)
    counts = run_tool(*copy).expect(0).json["kinds"]
    assert (counts["label_schema"]["same"], counts["review_queue"]["same"]) == (8, 3)
    assert run_tool(*copy, "--dry-run").expect(0).json["kinds"]["review_queue"]["same"] == 3
    assert databases.dump(destination) == after
    verified = run_tool("verify", empty_source.url, destination.url, "--json").json["kinds"]
    assert (verified["label_schema"]["equal"], verified["review_queue"]["equal"]) == (8, 3)
    assert databases.dump(empty_source) == before
    # Changed at the source: a question, a reviewer, and a trace is done.
    changed = {"schema_id": ids["text"], "instruction": "how then?", "input": {"text": {"max_length": 9}}}
    call(empty_source, "PATCH", "label-schemas/update", json=changed)
    users = {"queue_id": ids["queue"], "update_users": True, "users": ["bob", "dora"]}
    call(empty_source, "POST", "review-queues/update", json=users)
    done = {"queue_id": ids["queue"], "item_id": TRACES[2], "status": "COMPLETE", "completed_by": "dora"}
    call(empty_source, "POST", "review-queues/items/set-status", json=done)
    nothing = databases.dump(destination)
    would = run_tool(*copy, "--dry-run").expect(0).json["kinds"]
    assert databases.dump(destination) == nothing
    counts = run_tool(*copy).expect(0).json["kinds"]
    assert (counts["label_schema"]["updated"], counts["review_queue"]["updated"]) == (1, 1)
    assert (would["label_schema"], would["review_queue"]) == (counts["label_schema"], counts["review_queue"])
    assert schemas(destination) == schemas(empty_source)
    assert queues(destination) == queues(empty_source)


def test_schemas_and_queues_survive_a_bundle(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    seed(empty_source)
    bundle = tmp_path / "bundle"
    export = ("export-experiments", "--tracking-uri", empty_source.url, "--output-dir", bundle, *ALL)
    run_tool(*export, "--allow-loss", "trace").expect(0)
    into = ("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    run_tool(*into)
    with_traces(destination)
    run_tool(*into).expect(0)
    assert schemas(destination) == schemas(empty_source)
    assert queues(destination) == queues(empty_source)
    after = databases.dump(destination)
    run_tool(*into).expect(0)
    assert databases.dump(destination) == after
    verified = run_tool("verify", bundle, destination.url, "--json").json["kinds"]
    assert (verified["label_schema"]["equal"], verified["review_queue"]["equal"]) == (8, 3)


def test_somebody_elses_schema_and_queue_are_left_alone(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    seed(empty_source)
    theirs = genai.experiment(destination, "one")
    schema(destination, theirs, "wanted", {"text": {}})
    body = {"experiment_id": theirs, "name": "my queue É", "queue_type": "CUSTOM", "users": ["else"]}
    call(destination, "POST", "review-queues/create", json=body)
    report = run_tool("copy-experiments", *genai.pair(empty_source, destination), *ALL).expect(1).json
    failed = {(row["kind"], row["name"]) for row in report["rows"] if row["state"] == "failed"}
    assert failed == {("label_schema", "wanted"), ("review_queue", "My Queue é")}
    assert [row[2][0] for row in queues(destination) if row[1][0] == "my queue É"] == [("else",)]
