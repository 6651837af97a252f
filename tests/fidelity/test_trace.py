"""Traces with all that belongs to them, by the rows of both databases."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_migration.objects import trace
from mlflow_migration.places import Selection
from tests import databases, servers, traces
from tests.conftest import ServerFactory, Tool
from tests.contract.test_places import live
from tests.fidelity.test_copy import between
from tests.rest import Api
from tests.servers import Options, Server


@pytest.fixture
def api(empty_source: Server) -> Iterator[Api]:
    """The REST API of the source, which is empty."""
    api = Api(empty_source.url)
    yield api
    api.close()


def test_traces_of_every_form_are_copied_and_a_second_copy_adds_nothing(
    empty_source: Server, destination: Server, run_tool: Tool, api: Api
) -> None:
    traces.seed(api)
    copy = ("copy-experiments", *between(empty_source, destination), "--experiments", "all", "--json")
    report = run_tool(*copy).expect(0).json
    assert report["rows"] == []
    assert report["kinds"]["trace"]["done"] == 6
    assert traces.compare(empty_source, destination) == []
    before = databases.dump(destination)
    again = run_tool(*copy).expect(0).json
    assert again["kinds"]["trace"]["same"] == 6
    assert databases.dump(destination) == before
    assert run_tool("verify", empty_source.url, destination.url, "--json").expect(0).json["differences"] == []


def test_traces_go_through_a_bundle(
    empty_source: Server, destination: Server, run_tool: Tool, api: Api, tmp_path: Path
) -> None:
    traces.seed(api)
    bundle = tmp_path / "bundle"
    export = ("export-experiments", "--tracking-uri", empty_source.url, "--experiments", "all", "--output-dir", bundle)
    run_tool(*export).expect(0)
    assert run_tool(*export, "--json").expect(0).json["kinds"]["trace"]["same"] == 6
    run_tool("verify", empty_source.url, bundle).expect(0)
    load = ("import-experiments", "--input-dir", bundle, "--tracking-uri", destination.url)
    run_tool(*load).expect(0)
    assert traces.compare(empty_source, destination) == []
    before = databases.dump(destination)
    run_tool(*load).expect(0)
    assert databases.dump(destination) == before
    run_tool("verify", bundle, destination.url).expect(0)


def test_a_trace_that_has_changed_is_brought_up_to_date(
    empty_source: Server, destination: Server, run_tool: Tool, api: Api
) -> None:
    ids = traces.seed(api)
    copy = ("copy-experiments", *between(empty_source, destination), "--experiments", "all")
    run_tool(*copy).expect(0)
    child, path = "2" * 32, "/api/3.0/mlflow/traces/"
    traces.log_spans(api, ids["experiment"], traces.span(child, 0xBB, attributes={"now": "whole"}))
    traces.start(api, ids["experiment"], ids["child"], state="OK", execution_duration="9s", tags={"new": "tag"})
    api.call("DELETE", f"{path}{ids['whole']}/tags", json={"key": "team"})
    api.call("DELETE", f"{path}{ids['whole']}/assessments/a-2")
    changed = {"assessment": {"feedback": {"value": "other"}}, "update_mask": "feedback"}
    api.call("PATCH", f"{path}{ids['whole']}/assessments/a-1", json=changed)
    body = {"assessment_id": "o-3", "assessment_name": "verdict", "source": traces.HUMAN, "feedback": {"value": 4}}
    traces.assess(api, ids["image"], **body, overrides="o-2", create_time=traces.WHEN, last_update_time=traces.WHEN)
    report = run_tool(*copy, "--json").expect(0).json
    assert report["kinds"]["trace"]["updated"] == 3
    assert report["kinds"]["trace"]["same"] == 3
    assert traces.compare(empty_source, destination) == []
    run_tool("verify", empty_source.url, destination.url).expect(0)


def test_what_was_added_at_the_destination_stays_when_a_trace_is_brought_up_to_date(
    empty_source: Server, destination: Server, run_tool: Tool, api: Api
) -> None:
    ids = traces.seed(api)
    copy = ("copy-experiments", *between(empty_source, destination), "--experiments", "all")
    run_tool(*copy).expect(0)
    there, path = Api(destination.url), f"/api/3.0/mlflow/traces/{ids['whole']}/tags"
    there.call("PATCH", path, json={"key": "theirs", "value": "stays"})
    verdict = {"assessment_id": "theirs", "assessment_name": "good", "source": traces.HUMAN, "feedback": {"value": 1}}
    traces.assess(there, ids["whole"], **verdict, overrides="a-1")
    there.close()
    before = traces.read(destination, {})[ids["whole"]]
    api.call("PATCH", path, json={"key": "ours", "value": "new"})
    run_tool(*copy).expect(0)
    after = traces.read(destination, {})[ids["whole"]]
    assert not before - after
    ((_, added),) = after - before
    assert '"ours"' in added


def test_verify_names_what_differs(empty_source: Server, destination: Server, run_tool: Tool, api: Api) -> None:
    ids = traces.seed(api)
    run_tool("copy-experiments", *between(empty_source, destination), "--experiments", "all").expect(0)
    traces.log_spans(
        api, ids["experiment"], traces.span("1" * 32, 3, parentSpanId=f"{2:016x}", attributes={"new": "value"})
    )
    found = run_tool("verify", empty_source.url, destination.url, "--json").expect(1).json["differences"]
    assert {row["id"] for row in found} == {ids["whole"]}
    assert f"spans.{traces.b64(3)}.attributes.new" in {row["field"] for row in found}


def test_somebody_elses_trace_of_the_same_id_is_never_written_over(
    empty_source: Server, destination: Server, run_tool: Tool, api: Api
) -> None:
    ids = traces.seed(api)
    there = Api(destination.url)
    theirs = there.post("experiments/create", name="theirs")["experiment_id"]
    traces.log_spans(there, theirs, traces.span("1" * 32, 1, attributes={"whose": "theirs"}))
    traces.start(there, theirs, ids["whole"])
    there.close()
    before = traces.read(destination, {})[ids["whole"]]
    copy = ("copy-experiments", *between(empty_source, destination), "--experiments", "all", "--json")
    report = run_tool(*copy).expect(1).json
    assert report["kinds"]["trace"] | {"failed": 1, "done": 5} == report["kinds"]["trace"]
    assert traces.read(destination, {})[ids["whole"]] == before


def test_a_trace_whose_run_is_elsewhere_says_so_and_is_tied_later(
    empty_source: Server, destination: Server, run_tool: Tool, api: Api
) -> None:
    one, two = (api.post("experiments/create", name=name)["experiment_id"] for name in ("one", "two"))
    run_id = api.post("runs/create", experiment_id=one, start_time=1)["run"]["info"]["run_id"]
    traces.log_spans(api, two, traces.span("9" * 32, 1))
    traces.start(api, two, "tr-" + "9" * 32, trace_metadata={"mlflow.sourceRun": run_id})
    copy = ("copy-experiments", *between(empty_source, destination), "--json")
    (row,) = run_tool(*copy, "--experiments", "two").expect(1).json["rows"]
    assert row["kind"] == "link"
    before = databases.dump(destination)
    assert run_tool(*copy, "--experiments", "two").expect(1).json["kinds"]["trace"]["same"] == 1
    assert databases.dump(destination) == before
    assert run_tool(*copy, "--experiments", "all").expect(0).json["kinds"]["trace"]["updated"] == 1
    assert traces.compare(empty_source, destination) == []


def test_a_run_is_copied_with_its_traces(empty_source: Server, destination: Server, run_tool: Tool, api: Api) -> None:
    ids = traces.seed(api)
    copy = ("copy-run", "--run-id", ids["run"], "--experiment-name", "here", "--json")
    assert run_tool(*copy, *between(empty_source, destination)).json["kinds"]["trace"]["done"] == 1
    assert set(traces.read(destination, {})) == {ids["whole"]}
    # On one server a trace's id stands once: that it can't be copied is said.
    rows = run_tool(*copy, *between(empty_source, empty_source)).expect(1).json["rows"]
    assert {(row["kind"], row["id"]) for row in rows} == {("trace", ids["whole"])}


@pytest.mark.slow
def test_traces_whose_artifacts_are_outside_the_proxy_are_copied(
    empty_source: Server, destination: Server, make_server: ServerFactory, run_tool: Tool, template: Path
) -> None:
    api = Api(empty_source.url)
    traces.seed(api)
    api.close()
    direct = make_server(Options(template=template, serve_artifacts=False))
    servers.execute(direct, "UPDATE experiments SET artifact_location = ?", f"{direct.artifacts}/0")
    run_tool("copy-experiments", *between(empty_source, direct), "--experiments", "all").expect(0)
    assert traces.compare(empty_source, direct) == []
    run_tool("copy-experiments", *between(direct, destination), "--experiments", "all").expect(0)
    assert traces.compare(direct, destination) == []


def test_a_half_made_trace_is_completed(empty_source: Server, destination: Server, run_tool: Tool, api: Api) -> None:
    ids = traces.seed(api)
    there = Api(destination.url)
    number = there.post("experiments/create", name="traces")["experiment_id"]
    # What a job leaves that ends between its two requests: spans, and the origin that came with them.
    mark = {"key": "mlflow_migration.source", "value": {"stringValue": empty_source.url}}
    body = {"resource": {"attributes": [mark]}, "scopeSpans": [{"spans": [traces.span("1" * 32, 1)]}]}
    headers = {"x-mlflow-experiment-id": number}
    there.call("POST", "/v1/traces", json={"resourceSpans": [body]}, headers=headers)
    there.close()
    assert "mlflow_migration.source" in str(traces.tags(destination, ids["whole"]))
    run_tool("copy-experiments", *between(empty_source, destination), "--experiments", "all").expect(0)
    assert traces.compare(empty_source, destination) == []


def test_ties_to_prompts_are_those_of_the_source_whatever_its_tags_say(
    empty_source: Server, destination: Server, run_tool: Tool, api: Api
) -> None:
    experiment = api.post("experiments/create", name="ties")["experiment_id"]
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    api.post("registered-models/create", name="it's a prompt", tags=prompt)
    for _ in range(2):
        api.post("model-versions/create", name="it's a prompt", source="dummy-source", tags=prompt)
    said = {"mlflow.linkedPrompts": json.dumps([{"name": "it's a prompt", "version": "1"}])}
    # Of one moment or not, told by a tag or not, tied or not, or tied to another version than the tag tells.
    cases = [(at, tags, ties) for at in (1, 2, 2, 2) for tags in ({}, said) for ties in ("", "1", "2", "12")]
    for number, (at, tags, ties) in enumerate(cases):
        trace_id = f"tr-{zlib.crc32(str(number).encode()):032x}"
        traces.start(api, experiment, trace_id, request_time=f"2023-11-14T22:13:20.00{at}Z", tags=tags)
        if ties:
            versions = [{"name": "it's a prompt", "version": version} for version in ties]
            api.post("traces/link-prompts", trace_id=trace_id, prompt_versions=versions)
    copy = ("copy-all", *between(empty_source, destination), "--json")
    run_tool(*copy).expect(0)
    assert traces.compare(empty_source, destination) == []
    before = databases.dump(destination)
    run_tool(*copy).expect(0)
    assert databases.dump(destination) == before
    run_tool("verify", empty_source.url, destination.url).expect(0)
    bundle = run_tool.home / "bundle"
    run_tool("export-all", "--tracking-uri", empty_source.url, "--output-dir", bundle).expect(0)
    run_tool("verify", bundle, destination.url).expect(0)
    # Traces that are asked for by their ids are found tied to the same.
    there = live(empty_source)
    listed = {record.id: record.head.get("tied_prompts") for record in trace.read(there, Selection())}
    some = tuple(sorted(listed)[1::2])
    named = {record.id: record.head.get("tied_prompts") for record in trace.read(there, Selection(traces=some))}
    there.close()
    assert named == {trace_id: listed[trace_id] for trace_id in some}
    assert [] in named.values()
