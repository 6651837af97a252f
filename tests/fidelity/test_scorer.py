"""Scorers: every version under its number, gaps included; what a destination refuses is told."""

import json
from pathlib import Path
from typing import Any

from tests import databases, genai, servers
from tests.conftest import Tool
from tests.genai import call
from tests.servers import Server

ALL = ("--experiments", "all", "--json")
NAME = "a/b é"


def serialized(name: str, text: str) -> str:
    """A scorer made of built-in parts, which any server takes, in the way Python's json writes it."""
    data = {"name": name, "guidelines": [text]}
    parts = {"name": name, "mlflow_version": "3.17.2", "builtin_scorer_class": "Guidelines"}
    return json.dumps({**parts, "builtin_scorer_pydantic_data": data})


def register(server: Server, experiment_id: str, name: str, text: str) -> None:
    body = {"experiment_id": experiment_id, "name": name, "serialized_scorer": text}
    call(server, "POST", "scorers/register", json=body)


def seed(server: Server) -> str:
    one, two = genai.experiment(server, "one"), genai.experiment(server, "two")
    for text in ("first", "sécond", "third", "third"):
        register(server, one, NAME, serialized(NAME, text))
    for version in (1, 3):
        gone = {"experiment_id": one, "name": NAME, "version": version}
        call(server, "DELETE", "scorers/delete", json=gone)
    register(server, one, "plain", serialized("plain", "x"))
    register(server, two, NAME, serialized(NAME, "elsewhere"))
    config = {"experiment_id": one, "name": NAME, "sample_rate": 0, "filter_string": "tags.a = 'é'"}
    call(server, "PUT", "scorers/online-config", json=config)
    return one


def content(server: Server) -> list[tuple[Any, ...]]:
    names = genai.names(server)
    statement = (
        "SELECT s.experiment_id, s.scorer_name, v.scorer_version, v.serialized_scorer, c.sample_rate, c.filter_string "
        "FROM scorers s JOIN scorer_versions v USING (scorer_id) LEFT JOIN online_scoring_configs c USING (scorer_id)"
    )
    return sorted((names[str(row[0])], *row[1:]) for row in genai.rows(server, statement))


def test_scorers_are_copied_and_a_second_copy_adds_nothing(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    one = seed(empty_source)
    before = databases.dump(empty_source)
    genai.experiment(destination, "another, so that ids differ")
    copy = ("copy-experiments", *genai.pair(empty_source, destination), *ALL)
    nothing = databases.dump(destination)
    run_tool(*copy, "--dry-run")
    assert databases.dump(destination) == nothing
    assert run_tool(*copy).expect(0).json["kinds"]["scorer"]["done"] == 3
    assert content(destination) == content(empty_source)
    assert databases.dump(empty_source) == before
    after = databases.dump(destination)
    assert run_tool(*copy).expect(0).json["kinds"]["scorer"]["same"] == 3
    assert databases.dump(destination) == after
    verified = run_tool("verify", empty_source.url, destination.url, "--json").expect(0).json
    assert verified["kinds"]["scorer"]["equal"] == 3
    register(empty_source, one, NAME, serialized(NAME, "fifth"))
    config = {"experiment_id": one, "name": NAME, "sample_rate": 0}
    call(empty_source, "PUT", "scorers/online-config", json=config)
    run_tool("verify", empty_source.url, destination.url).expect(1)
    assert run_tool(*copy).expect(0).json["kinds"]["scorer"]["updated"] == 1
    assert content(destination) == content(empty_source)


def test_scorers_survive_a_bundle(empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path) -> None:
    seed(empty_source)
    bundle = tmp_path / "bundle"
    run_tool("export-experiments", "--tracking-uri", empty_source.url, "--output-dir", bundle, *ALL).expect(0)
    into = ("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    run_tool(*into).expect(0)
    assert content(destination) == content(empty_source)
    after = databases.dump(destination)
    run_tool(*into).expect(0)
    assert databases.dump(destination) == after
    run_tool("verify", bundle, destination.url).expect(0)
    # Somebody changes one there: the difference is shown field by field.
    servers.execute(destination, "UPDATE scorer_versions SET serialized_scorer = '{}' WHERE scorer_version = 4")
    shown = run_tool("verify", bundle, destination.url, "--json").expect(1).json["differences"]
    assert {difference["name"] for difference in shown} == {NAME}
    fields = {"name", "mlflow_version", "builtin_scorer_class", "builtin_scorer_pydantic_data"}
    assert {difference["field"] for difference in shown} == {f"versions.4.{field}" for field in fields}


def test_what_is_refused_or_taken_is_told(empty_source: Server, destination: Server, run_tool: Tool) -> None:
    one = genai.experiment(empty_source, "one")
    register(empty_source, one, "code", serialized("code", "x"))
    code = json.dumps({"name": "code", "call_source": "return 1", "call_signature": "()", "original_func_name": "code"})
    servers.execute(empty_source, "UPDATE scorer_versions SET serialized_scorer = ?", code)
    register(empty_source, one, "taken", serialized("taken", "ours"))
    other = genai.experiment(destination, "one")
    register(destination, other, "taken", serialized("taken", "theirs"))
    report = run_tool("copy-experiments", *genai.pair(empty_source, destination), *ALL).expect(1).json
    reasons = {row["name"]: row["reason"] for row in report["rows"]}
    assert "Custom scorer registration" in reasons["code"]
    assert "another version 1" in reasons["taken"]
    assert [row[1:4] for row in content(destination)] == [("taken", 1, serialized("taken", "theirs"))]
