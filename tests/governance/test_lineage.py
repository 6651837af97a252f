"""`lineage show` tells what was made of what, through servers; what it can't show it names."""

import json
import uuid

import pytest

from tests import seeding, servers
from tests.conftest import Outcome, Run
from tests.faults.proxy import Proxy, Request, on, status
from tests.governance import scene
from tests.governance.scene import COMMIT, Scene
from tests.rest import Api, Json


def show(run_here: Run, scene_: Scene, *words: str) -> Outcome:
    """The lineage of prod's churn through both servers."""
    return run_here("lineage", "show", "churn/1", "--uri", scene_.prod.url, "--server", f"dev={scene_.dev.url}", *words)


def kinds(document: Json) -> dict[str, list[str]]:
    """Kind → the names of its nodes at their environments."""
    found: dict[str, list[str]] = {}
    for node in document["nodes"]:
        found.setdefault(node["kind"], []).append(f"{node['name']}@{node['environment']}")
    return {kind: sorted(names) for kind, names in found.items()}


def test_a_version_is_traced_through_both_servers_to_the_run_its_data_and_its_commit(
    run_here: Run, both: Scene
) -> None:
    document = show(run_here, both, "--json").expect(0).json
    weekly = f"weekly {scene.HOSTILE}"
    assert kinds(document) == {
        "model version": ["churn version 1@dev", "churn version 1@here"],
        "run": [
            "evaluation@dev",
            "week 3@dev",
            "week 3@here",
            f"{weekly}@dev",
            f"{weekly}@here",
        ],
        "logged model": ["model@dev", "model@here"],
        "dataset": ["customers@"],
        "git commit": [f"{COMMIT}@"],
        "notebook or script": ["/Repos/churn/train@"],
        "prompt version": ["ask version 1@dev"],
        "traces": ["1@dev", "1@dev"],
    }
    names = {node["id"]: f"{node['name']}@{node['environment']}" for node in document["nodes"]}
    ties = {(names[edge["of"]], edge["label"], names[edge["origin"]]) for edge in document["edges"]}
    assert {
        ("churn version 1@here", "copy of", "churn version 1@dev"),
        ("churn version 1@dev", "made by", "week 3@dev"),
        ("churn version 1@dev", "files of", "model@dev"),
        ("model@dev", "evaluated by", "evaluation@dev"),
        ("week 3@here", "copy of", "week 3@dev"),
        ("week 3@dev", "child of", f"{weekly}@dev"),
        ("week 3@dev", "data for training", "customers@"),
        ("week 3@dev", "code at", f"{COMMIT}@"),
        ("week 3@dev", "prompt", "ask version 1@dev"),
    } <= ties


def test_nodes_tell_params_metrics_assessments_and_where_mlflow_shows_them(run_here: Run, both: Scene) -> None:
    document = show(run_here, both, "--json").expect(0).json
    nodes = {(node["kind"], node["name"], node["environment"]): node for node in document["nodes"]}
    run = nodes["run", "week 3", "dev"]
    assert run["facts"]["params"] == {"depth": "6", "loss": scene.HOSTILE}
    assert run["facts"]["metrics"] == {"roc_auc": "0.91"}
    assert run["facts"]["about"]["user"] == "dora"
    assert run["link"] == f"{both.dev.url}/#/experiments/{both.made.experiment}/runs/{both.made.run}"
    assert nodes["model version", "churn version 1", "dev"]["facts"]["about"]["aliases"] == "champion"
    assert nodes["logged model", "model", "dev"]["facts"]["metrics"] == {"f1": "0.8"}
    assert nodes["traces", "1", "dev"]["facts"]["assessments"] == {"good": "1, 1 of them by people"}


def test_a_place_that_is_not_given_is_missing_and_the_exit_code_says_so(run_here: Run, both: Scene) -> None:
    found = run_here("lineage", "show", "churn", "--uri", both.prod.url, "--json").expect(1).json
    missing = {(node["kind"], node["name"]): node["missing"] for node in found["nodes"] if node["missing"]}
    assert ("model version", "churn/1") in missing
    assert ("run", both.made.run) in missing
    assert all("--server NAME=ADDRESS" in why for why in missing.values())


def test_a_place_that_is_known_under_another_address_now_is_walked_into(run_here: Run, both: Scene) -> None:
    words = ("--server", "dev=" + both.dev.url.replace("127.0.0.1", "localhost"))
    asked = ("lineage", "show", "churn", "--uri", both.prod.url, *words, "--json")
    run_here(*asked).expect(1)
    same = f"{both.dev.url}={both.dev.url.replace('127.0.0.1', 'localhost')}"
    document = run_here(*asked, "--same-place", same).expect(0).json
    assert "churn version 1@dev" in kinds(document)["model version"]


def test_a_place_that_is_down_is_named_and_asked_once(run_here: Run, both: Scene) -> None:
    dead = f"http://127.0.0.1:{servers.free_port()}"
    words = ("--server", f"dev={dead}", "--same-place", f"{both.dev.url}={dead}", "--patience", "1", "--json")
    found = run_here("lineage", "show", "churn", "--uri", both.prod.url, *words).expect(1).json
    reasons = {node["missing"] for node in found["nodes"] if node["missing"]}
    assert len(reasons) == 1
    assert "can't be asked" in reasons.pop()


def test_a_deleted_origin_is_shown_as_gone_or_deleted(run_here: Run, both: Scene) -> None:
    api = Api(both.dev.url)
    api.post("runs/delete", run_id=both.made.run)
    api.call("DELETE", "/api/2.0/mlflow/model-versions/delete", json={"name": "churn", "version": "1"})
    found = show(run_here, both, "--json").expect(1).json
    nodes = {(node["kind"], node["name"]): node for node in found["nodes"] if node["environment"] == "dev"}
    assert nodes["model version", "churn/1"]["missing"] == "it isn't there any more"
    assert nodes["run", "week 3"]["facts"]["about"]["deleted"] == "yes"


def test_a_version_without_any_origin_says_that_none_is_recorded(run_here: Run, both: Scene) -> None:
    api = Api(both.dev.url)
    api.post("registered-models/create", name="loose")
    api.post("model-versions/create", name="loose", source="s3://bucket/model")
    found = run_here("lineage", "show", "loose", "--uri", both.dev.url, "--json").expect(1).json
    assert {node["missing"] for node in found["nodes"]} - {""} == {"no run and no logged model is recorded"}
    assert kinds(found)["files"] == ["s3://bucket/model@"]


def test_runs_that_are_each_others_parents_end_the_walk(run_here: Run, both: Scene) -> None:
    api = Api(both.dev.url)
    api.post("runs/set-tag", run_id=both.made.parent, key="mlflow.parentRunId", value=both.made.run)
    found = show(run_here, both, "--json").expect(0).json
    assert len(kinds(found)["run"]) == 5
    show(run_here, both, "--format", "html").expect(0)


def test_the_limit_stops_the_walk_and_is_told(run_here: Run, both: Scene) -> None:
    found = show(run_here, both, "--limit", "3", "--json").expect(1).json
    assert "--limit is 3" in found["cut"]
    assert any("limit" in node["missing"] for node in found["nodes"])


@pytest.mark.parametrize(
    ("thing", "reached"),
    [
        ("run", {"churn version 1@prod", "churn version 1@here", "model@here", "model@prod", "week 3@prod"}),
        ("dataset", {"week 3@prod", "week 3@here", "churn version 1@prod", "churn version 1@here"}),
        ("prompt", {"week 3@prod", "week 3@here", "churn version 1@prod", "model@here"}),
        ("model", {"churn version 1@prod"}),
        ("logged-model", {"churn version 1@here", "churn version 1@prod", "model@prod"}),
    ],
)
def test_what_came_of_a_thing_is_found_at_both_servers(
    run_here: Run, both: Scene, thing: str, reached: set[str]
) -> None:
    names = {"run": both.made.run, "logged-model": both.made.model, "dataset": "customers@abc123"}
    what = names.get(thing) or {"prompt": "ask/1", "model": "churn/1"}[thing]
    words = ("--downstream", f"{thing}:{what}", "--uri", both.dev.url, "--server", f"prod={both.prod.url}", "--json")
    document = run_here("lineage", "show", *words).expect(0).json
    assert reached <= {name for found in kinds(document).values() for name in found}


def test_nothing_to_follow_is_an_error_that_names_the_forms(run_here: Run, both: Scene) -> None:
    place = ("--uri", both.dev.url)
    run_here("lineage", "show", *place).expect(2)
    run_here("lineage", "show", "--downstream", "nonsense", *place).expect(2)
    run_here("lineage", "show", "--downstream", f"run:{'0' * 32}", *place).expect(1)
    run_here("lineage", "show", "churn@nobody", *place).expect(1)
    run_here("lineage", "show", "none/7", *place).expect(1)


def test_openlineage_events_have_the_form_of_the_specification(run_here: Run, both: Scene) -> None:
    lines = show(run_here, both, "--format", "openlineage").expect(0).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    for event in events:
        assert event["eventType"] in {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
        assert event["eventTime"].endswith("Z")
        assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
        uuid.UUID(event["run"]["runId"])
        assert event["job"]["namespace"] and event["job"]["name"]
        for data in (*event["inputs"], *event["outputs"]):
            assert data["namespace"] and data["name"]
            assert all({"_producer", "_schemaURL"} <= facet.keys() for facet in data["facets"].values())
    trained = next(event for event in events if event["run"]["runId"] == str(uuid.UUID(both.made.run)))
    assert trained["eventTime"] == "2020-09-13T12:27:40Z"
    assert trained["job"]["facets"]["sourceCodeLocation"]["version"] == COMMIT
    assert trained["run"]["facets"]["parent"]["run"]["runId"] == str(uuid.UUID(both.made.parent))
    assert "dataset/customers" in [data["name"] for data in trained["inputs"]]
    assert {"logged model/model", "model version/churn version 1"} <= {data["name"] for data in trained["outputs"]}
    moved = [event for event in events if event["job"]["name"].startswith("promotion of churn")]
    assert [data["namespace"] for data in moved[0]["inputs"]] == [both.dev.url]
    assert [data["namespace"] for data in moved[0]["outputs"]] == [both.prod.url]


def test_a_mermaid_chart_lets_no_name_end_a_label(run_here: Run, both: Scene) -> None:
    lines = show(run_here, both, "--format", "mermaid").expect(0).stdout.splitlines()
    assert lines[0] == "flowchart LR"
    for line in lines[1:]:
        assert line.count('"') in {0, 2}, line
        inner = line.split('"')[1].replace("<br/>", "") if '"' in line else ""
        assert not set(inner) & set("<>&{}`'\\"), line


def test_the_text_shows_no_control_characters(run_here: Run, both: Scene) -> None:
    api = Api(both.dev.url)
    seeding.log_params(api, both.made.run, {"escape": "\x1b[31mred\x07"})
    shown = show(run_here, both).expect(0).stdout
    assert "\x1b" not in shown
    assert "\\x1b[31mred" in shown
    assert "└─" in shown


def test_what_one_request_cannot_tell_is_missing_and_all_else_is_shown(run_here: Run, both: Scene) -> None:
    with Proxy(both.prod.url) as proxy:
        proxy.add(status(500, "INTERNAL_ERROR"), on("POST", "traces/search"), times=None)
        proxy.add(status(403, "PERMISSION_DENIED"), on("GET", "^logged-models/m-"), times=None)
        words = ("--server", f"dev={both.dev.url}", "--patience", "1", "--json")
        document = run_here("lineage", "show", "churn/1", "--uri", proxy.url, *words).expect(1).json
    missing = {node["kind"]: node["missing"] for node in document["nodes"] if node["missing"]}
    assert missing.keys() == {"traces", "logged model"}
    assert all(why.startswith("it can't be read: ") for why in missing.values())
    assert {"week 3@dev", "week 3@here"} <= set(kinds(document)["run"])


def test_credentials_of_one_server_never_go_to_another(
    run_here: Run, both: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_MIGRATION_SRC_TOKEN", "of-prod")
    with Proxy(both.prod.url) as prod, Proxy(both.dev.url) as dev:
        words = ("--server", f"my-dev={dev.url}", "--same-place", f"{both.dev.url}={dev.url}", "--json")
        run_here("lineage", "show", "churn/1", "--uri", prod.url, *words).expect(0)
        assert {sent(request) for request in prod.seen} == {"Bearer of-prod"}
        assert {sent(request) for request in dev.seen} == {""}
        dev.clear()
        monkeypatch.setenv("MLFLOW_MIGRATION_MY_DEV_TOKEN", "of-dev")
        run_here("lineage", "show", "churn/1", "--uri", prod.url, *words).expect(0)
        assert {sent(request) for request in dev.seen} == {"Bearer of-dev"}


def sent(request: Request) -> str:
    """The credentials in a request, "" for none."""
    return {name.lower(): value for name, value in request.headers}.get("authorization", "")
