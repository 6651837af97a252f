"""`audit run` finds what is wrong on a server, all of it and nothing else; its reports have the forms they claim."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import servers
from tests.conftest import Run, ServerPool
from tests.faults.proxy import Proxy, cut_before, on, status
from tests.governance import messy
from tests.rest import Api, Json
from tests.servers import Server, Snapshot

Wrong = set[tuple[str, str, str]]


@pytest.fixture(scope="session")
def seeded(template: Path, server_pool: ServerPool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Snapshot, Wrong]:
    """The messy server's content, made once, and what is wrong there."""
    server = server_pool("destination")
    servers.reset(server, Snapshot(template))
    wrong = messy.fill(server)
    return servers.photograph(server, tmp_path_factory.mktemp("messy-")), wrong


@pytest.fixture
def mess(seeded: tuple[Snapshot, Wrong], server_pool: ServerPool) -> Server:
    """A server with all these problems."""
    server = server_pool("destination")
    servers.reset(server, seeded[0])
    return server


@pytest.fixture
def wrong(seeded: tuple[Snapshot, Wrong]) -> Wrong:
    """What is wrong there, as (rule, kind, name)."""
    return seeded[1]


def found_in(document: Json) -> Wrong:
    """The findings of a report as (rule, kind, name)."""
    return {(each["rule"], each["kind"], each["name"]) for each in document["findings"]}


def audit(run_here: Run, server: Server, *words: str | Path) -> Any:
    """An audit of a server."""
    return run_here("audit", "run", "--tracking-uri", server.url, *words)


def test_a_messy_server_shows_exactly_what_is_wrong_there(run_here: Run, mess: Server, wrong: Wrong) -> None:
    document = audit(run_here, mess, "--json").expect(0).json
    assert found_in(document) == wrong
    assert len(document["findings"]) == len(wrong)
    assert document["unlooked"] == {}
    messages = {(each["rule"], each["name"]): each["message"] for each in document["findings"]}
    assert messages["traces-unreviewed", "chat"] == "3 of 4 traces older than 14 days without an assessment"
    lacking = "it lacks params, metrics, an owner, a git commit or notebook, the data it was trained on"
    assert messages["run-metadata", "bare"] == lacking
    assert "run lost is deleted" in messages["origin-untraceable", "lost/1"]
    assert messages["origin-untraceable", "unknown/1"] == "no run is recorded"
    assert messages["champion-stale", "old/1"] == "champion: made 200 days ago"


def test_an_audit_of_the_database_itself_finds_the_same(run_here: Run, mess: Server, wrong: Wrong) -> None:
    place = ("--tracking-uri", f"sqlite:///{mess.database}", "--artifact-root", mess.artifacts)
    document = run_here("audit", "run", *place, "--json").json
    assert found_in(document) == wrong
    assert set(document["unlooked"]) <= {"permissions-wide"}


def test_every_finding_links_to_its_object_and_tells_what_to_do(run_here: Run, mess: Server) -> None:
    document = audit(run_here, mess, "--json").expect(0).json
    for each in document["findings"]:
        assert each["link"].startswith(f"{mess.url}/#/"), each
        assert each["remedy"] and each["message"]
    links = {each["name"]: each["link"] for each in document["findings"]}
    assert links["poor/1"] == f"{mess.url}/#/models/poor/versions/1"
    assert len({each["fingerprint"] for each in document["findings"]}) == len(document["findings"])


def test_an_audit_changes_nothing(run_here: Run, mess: Server) -> None:
    def content() -> list[str]:
        with contextlib.closing(sqlite3.connect(mess.database)) as base:
            return list(base.iterdump())

    before = content()
    audit(run_here, mess).expect(0)
    assert content() == before


def test_the_exit_code_says_whether_a_finding_is_as_grave_as_asked(run_here: Run, mess: Server, tmp_path: Path) -> None:
    audit(run_here, mess, "--fail-on", "high").expect(1)
    policy = write(tmp_path, {"rules": {"origin-untraceable": "low", "bytes-differ": "off"}})
    found = audit(run_here, mess, "--policy", policy, "--fail-on", "high", "--json").expect(0).json
    assert "bytes-differ" not in {each["rule"] for each in found["findings"]}
    assert {each["severity"] for each in found["findings"] if each["rule"] == "origin-untraceable"} == {"low"}
    audit(run_here, mess, "--policy", policy, "--fail-on", "medium").expect(1)


def write(folder: Path, settings: Json) -> Path:
    """A policy's file with this part `audit`."""
    path = folder / "promotion.yml"
    path.write_text(yaml.safe_dump({"audit": settings}))
    return path


def test_limits_and_patterns_of_the_policy_are_those_that_count(
    run_here: Run, mess: Server, wrong: Wrong, tmp_path: Path
) -> None:
    settings = {
        "names": {"experiments": "churn|chat|Default|promotions", "throwaway": "", "runs": "(?!just).*"},
        "runs": {
            "stuck_hours": 100,
            "data": False,
            "code": False,
            "owner": False,
            "params": ["width"],
            "tags": ["team"],
        },
        "unused_days": 365,
        "stale_days": 365,
        "review_days": 35,
        "production": ["live"],
        "owner_tags": ["responsible"],
    }
    document = audit(run_here, mess, "--policy", write(tmp_path, settings), "--json").expect(0).json
    found = found_in(document)
    named = {name for rule, _, name in found if rule == "naming"}
    assert named == {"test 2", "/Users/anna@example.com/scratch", "bob's ideas", "just begun"}
    for rule in ("run-stuck", "version-unused", "champion-stale", "origin-untraceable", "bytes-differ"):
        assert rule not in {each for each, _, _ in found}
    messages = {(each["rule"], each["name"]): each["message"] for each in document["findings"]}
    assert messages["run-metadata", "as it should be"] == "it lacks param width, tag team"
    assert messages["traces-unreviewed", "chat"] == "1 of 1 trace older than 35 days without an assessment"
    assert {name for rule, _, name in found if rule == "version-owner"} >= {"good/1", "poor/1"}


def test_the_alias_that_promotions_move_means_a_version_in_use(
    run_here: Run, mess: Server, wrong: Wrong, tmp_path: Path
) -> None:
    path = write(tmp_path, {"production": []})
    idle = found_in(audit(run_here, mess, "--policy", path, "--json").expect(0).json)
    assert {"origin-untraceable", "champion-stale", "bytes-differ"} & {rule for rule, _, _ in idle} == set()
    path.write_text(yaml.safe_dump({"alias": "champion", "audit": {"production": []}}))
    assert found_in(audit(run_here, mess, "--policy", path, "--json").expect(0).json) == wrong


@pytest.mark.parametrize(
    "settings",
    [
        {"rules": {"no-such-rule": "high"}},
        {"rules": {"naming": "terrible"}},
        {"names": {"runs": "("}},
        {"stale_days": 0},
        {"unknown": 1},
    ],
)
def test_a_wrong_policy_is_refused_before_anything_is_asked(run_here: Run, tmp_path: Path, settings: Json) -> None:
    dead = f"http://127.0.0.1:{servers.free_port()}"
    outcome = run_here("audit", "run", "--tracking-uri", dead, "--policy", write(tmp_path, settings)).expect(2)
    assert "audit." in outcome.stderr


def test_a_report_in_sarif_has_what_its_readers_need(run_here: Run, mess: Server, tmp_path: Path) -> None:
    file = tmp_path / "audit.sarif"
    audit(run_here, mess, "--format", "sarif", "--output", file).expect(0)
    log = json.loads(file.read_text("utf-8"))
    document = audit(run_here, mess, "--json").expect(0).json
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "mlflow-migration"
    rules = [rule["id"] for rule in driver["rules"]]
    assert len(set(rules)) == len(rules)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in {"none", "note", "warning", "error"}
    assert len(run["results"]) == len(document["findings"])
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["message"]["text"]
        assert result["level"] in {"note", "warning", "error"}
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("http")
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
    levels = {result["ruleId"]: result["level"] for result in run["results"]}
    assert levels["bytes-differ"] == "error"
    assert levels["champion-stale"] == "warning"
    assert levels["naming"] == "note"
    assert run["invocations"][0]["executionSuccessful"] is True


def test_a_baseline_accepts_what_is_known_and_lets_new_findings_through(
    run_here: Run, mess: Server, wrong: Wrong, tmp_path: Path
) -> None:
    baseline = tmp_path / "accepted.json"
    audit(run_here, mess, "--write-baseline", baseline).expect(0)
    known = ("--baseline", baseline, "--fail-on", "low", "--json")
    document = audit(run_here, mess, *known).expect(0).json
    assert document["findings"] == [] and found_in({"findings": document["accepted"]}) == wrong
    api = Api(mess.url)
    api.post("experiments/create", name="tmp 7")
    api.call("DELETE", "/api/2.0/mlflow/registered-models/delete", json={"name": "tmp"})
    document = audit(run_here, mess, *known).expect(1).json
    assert found_in(document) == {("naming", "experiment", "tmp 7")}
    assert len(document["settled"]) == 1
    sarif = json.loads(audit(run_here, mess, "--baseline", baseline, "--format", "sarif").expect(0).stdout)
    suppressed = [result for result in sarif["runs"][0]["results"] if "suppressions" in result]
    assert len(suppressed) == len(wrong) - 1


def test_two_reports_compared_tell_what_is_new_gone_and_still_there(
    run_here: Run, mess: Server, wrong: Wrong, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    audit(run_here, mess, "--format", "json", "--output", old).expect(0)
    api = Api(mess.url)
    api.call("DELETE", "/api/2.0/mlflow/registered-models/delete", json={"name": "tmp"})
    api.post("registered-models/alias", name="poor", alias="champion", version="5")
    api.post("experiments/create", name="asdf")
    audit(run_here, mess, "--format", "json", "--output", new).expect(0)
    trend = run_here("audit", "trend", old, new, "--json").expect(0).json
    assert found_in({"findings": trend["appeared"]}) == {("naming", "experiment", "asdf")}
    gone = {("naming", "registered model", "tmp"), ("version-unused", "model version", "poor/5")}
    assert found_in({"findings": trend["gone"]}) == gone
    assert trend["stayed"] == len(wrong) - 2
    run_here("audit", "trend", old, new, "--fail-on", "low").expect(1)
    run_here("audit", "trend", old, new, "--fail-on", "medium").expect(0)
    assert "1 new, 2 gone" in run_here("audit", "trend", old, new).expect(0).stdout


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "findings": [{}], "accepted": []}'])
def test_a_file_that_is_no_report_is_refused(run_here: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    run_here("audit", "trend", file, file).expect(2)


def test_the_table_shows_names_without_control_characters(run_here: Run, mess: Server) -> None:
    Api(mess.url).post("experiments/create", name="test\x1b[31m2")
    shown = audit(run_here, mess, "--format", "table").expect(0).stdout
    assert "\x1b" not in shown
    assert "findings: " in shown


@pytest.mark.slow
def test_a_rule_whose_requests_fail_is_told_as_not_checked_and_the_others_are_checked(
    run_here: Run, mess: Server, wrong: Wrong
) -> None:
    with Proxy(mess.url) as proxy:
        proxy.add(status(500, "INTERNAL_ERROR"), on("POST", "traces/search"), times=None)
        outcome = run_here("audit", "run", "--tracking-uri", proxy.url, "--patience", "1", "--json").expect(1)
        assert list(outcome.json["unlooked"]) == ["traces-unreviewed"]
        assert found_in(outcome.json) == {each for each in wrong if each[0] != "traces-unreviewed"}


def test_a_server_that_goes_away_ends_the_audit(run_here: Run, mess: Server) -> None:
    with Proxy(mess.url) as proxy:
        proxy.add(cut_before(), on("GET", "model-versions/search"), times=None)
        run_here("audit", "run", "--tracking-uri", proxy.url, "--patience", "1").expect(3)


@pytest.mark.parametrize("ending", [".json", ".md", ".html"])
def test_the_file_of_report_is_written_in_the_format_its_name_ends_in(
    run_here: Run, mess: Server, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"report{ending}"
    audit(run_here, mess, "--report", file).expect(0)
    text = file.read_text("utf-8")
    assert "bytes-differ" in text
    assert text.startswith({".json": "{", ".md": "```text", ".html": "<!doctype html>"}[ending])
