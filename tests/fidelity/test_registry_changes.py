"""A registry that changes, is renamed, interrupted, or meets another one at the destination."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlflow_migration.engine.id_map import id_map
from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.engine.lineage import Lineage
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import NotFoundError
from mlflow_migration.pipeline import LiveSink, LiveSource, Tools, transfer
from mlflow_migration.places import Names, Selection, Writing
from mlflow_migration.report import Report
from tests import databases, rest, servers
from tests.conftest import Tool
from tests.contract.test_places import live
from tests.faults.proxy import Proxy, cut_after, on, status, twice
from tests.fidelity.test_copy import between
from tests.fidelity.test_registry import COPY, PROMPT, QUOTES, expected, pairs, registry, same, seed, verified, version
from tests.rest import Api, Json
from tests.servers import Server
from tests.unit.test_bundle_tampering import Folder

WINE = "wine é 'q' x.y"


@dataclass(frozen=True)
class Ends:
    """Source and destination, and the tool that copies from one to the other."""

    source: Server
    destination: Server
    tool: Tool

    def copy(self, code: int = 0) -> Json:
        return self.tool(*COPY, *between(self.source, self.destination)).expect(code).json


@pytest.fixture
def ends(empty_source: Server, destination: Server, run_tool: Tool) -> Ends:
    return Ends(empty_source, destination, run_tool)


@pytest.fixture
def api(ends: Ends) -> Iterator[Api]:
    """The source's API."""
    with closing(Api(ends.source.url)) as api:
        yield api


@pytest.fixture
def there(ends: Ends) -> Iterator[Api]:
    """The destination's API."""
    with closing(Api(ends.destination.url)) as api:
        yield api


@dataclass(frozen=True)
class Library:
    """A copy by the library itself, for what the command line doesn't offer here."""

    folder: Path
    names: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False

    def copy(self, source: Server, destination: Server, selection: Selection) -> Report:
        left, right = live(source), live(destination)
        report = Report("copy", left.address, right.address, self.dry_run)
        ledger = Ledger(self.folder, {"to": right.address, "names": dict(self.names)})
        writing = Writing(
            left.address, Names({("", old): new for old, new in self.names.items()}), dry_run=self.dry_run
        )
        sink = LiveSink(right, Lineage(right, ledger, self.dry_run), writing)
        tools = Tools(ledger, report, Progress(quiet=True), threading.Event(), workers=4)
        try:
            transfer(LiveSource(left), sink, selection, tools)
        finally:
            ledger.close()
            left.close()
            right.close()
        return report


def test_what_changes_at_the_source_is_brought_up_to_date(ends: Ends, api: Api) -> None:
    seeds = seed(ends.source)
    ends.copy()
    api.call("PATCH", rest.API + "registered-models/update", json={"name": WINE, "description": "new"})
    api.post("registered-models/set-tag", name=WINE, key="team", value="other")
    api.post("registered-models/alias", name=WINE, alias="champion", version="6")
    api.call("PATCH", rest.API + "model-versions/update", json={"name": WINE, "version": "5", "description": "changed"})
    api.post("model-versions/set-tag", name=WINE, version="5", key="n", value="five")
    stage = {"stage": "Staging", "archive_existing_versions": False}
    api.post("model-versions/transition-stage", name=WINE, version="5", **stage)
    for number in ("9", "10"):
        assert version(api, WINE, f"runs:/{seeds.run}/model", run_id=seeds.run) == number
    api.call("DELETE", rest.API + "model-versions/delete", json={"name": WINE, "version": "9"})
    version(api, "greet", "dummy-source", tags=[PROMPT, *pairs(**{"mlflow.prompt.text": "next"})])
    report = ends.copy()
    same(ends.source, ends.destination)
    assert report["kinds"]["registered_model"]["updated"] == 1
    assert report["kinds"]["model_version"]["updated"] == 1
    assert report["kinds"]["model_version"]["done"] == 1
    assert report["kinds"]["prompt_version"]["done"] == 1
    before = databases.dump(ends.destination)
    ends.copy()
    assert databases.dump(ends.destination) == before
    result = verified(ends.tool, ends.source, ends.destination)
    assert result["ok"], result["differences"]


def test_lineage_tags_are_added_where_they_are_asked_for(ends: Ends) -> None:
    seeds = seed(ends.source)
    ends.tool(*COPY, *between(ends.source, ends.destination), "--import-source-tags").expect(0)
    query = "SELECT value FROM model_version_tags WHERE name = ? AND version = 5 AND key = 'mlflow_exim.field.run_id'"
    assert servers.select(ends.destination, query, WINE) == [(seeds.run,)]
    before = databases.dump(ends.destination)
    ends.tool(*COPY, *between(ends.source, ends.destination), "--import-source-tags").expect(0)
    assert databases.dump(ends.destination) == before
    result = verified(ends.tool, ends.source, ends.destination)
    assert result["ok"], result["differences"]


def test_verify_sees_what_differs(ends: Ends, there: Api) -> None:
    seed(ends.source)
    ends.copy()
    there.post("registered-models/alias", name=WINE, alias="champion", version="6")
    there.post("model-versions/set-tag", name="greet", version="3", key="mlflow.prompt.text", value="other")
    servers.execute(
        ends.destination, "UPDATE model_versions SET run_id = ? WHERE name = ? AND version = 5", "a" * 32, WINE
    )
    result = verified(ends.tool, ends.source, ends.destination)
    found = {(row["kind"], row["id"], row["field"]) for row in result["differences"]}
    assert found == {
        ("registered_model", WINE, "aliases.champion"),
        ("model_version", f"{WINE}/5", "run_id"),
        ("prompt_version", "greet/3", "tags.mlflow.prompt.text"),
    }


def test_a_model_of_somebody_else_is_left_alone_unless_it_is_equal(ends: Ends, api: Api, there: Api) -> None:
    for one in (api, there):
        one.post("registered-models/create", name="equal", description="e", tags=pairs(k="v"))
        version(one, "equal", "s3://bucket/equal", description="1")
        one.post("registered-models/create", name="other", description=one.url)
    version(api, "equal", "s3://bucket/more")
    version(api, "other", "s3://bucket/other")
    there.post("registered-models/create", name="named", tags=[PROMPT])
    api.post("registered-models/create", name="named")
    before = databases.dump(ends.destination)
    report = ends.copy(1)
    after = databases.dump(ends.destination)
    assert {key: rows for key, rows in after.items() if "model" in key} == {
        key: rows for key, rows in before.items() if "model" in key
    }
    failed = {(row["kind"], row["id"]) for row in report["rows"] if row["state"] == "failed"}
    assert failed == {
        ("registered_model", "other"),
        ("registered_model", "named"),
        ("model_version", "other/1"),
        ("model_version", "equal/2"),
    }
    assert report["kinds"]["registered_model"]["same"] == report["kinds"]["model_version"]["same"] == 1
    assert any("another model or prompt has the name" in row["reason"] for row in report["rows"])


def test_a_number_that_is_taken_or_past_is_a_conflict(ends: Ends, api: Api, there: Api) -> None:
    api.post("registered-models/create", name="m")
    version(api, "m", "s3://bucket/1")
    ends.copy()
    assert version(there, "m", "s3://bucket/theirs") == "2"
    there.call("DELETE", rest.API + "model-versions/delete", json={"name": "m", "version": "1"})
    version(api, "m", "s3://bucket/2")
    version(api, "m", "s3://bucket/3")
    before = databases.dump(ends.destination)["model_versions"]
    report = ends.copy(1)
    failed = {row["id"]: row["reason"] for row in report["rows"] if row["state"] == "failed"}
    assert failed.keys() == {"m/1", "m/2"}
    assert "can't be made any more" in failed["m/1"]
    assert "another version has the number 2" in failed["m/2"]
    after = databases.dump(ends.destination)["model_versions"]
    assert set(before) < set(after)
    assert servers.select(ends.destination, "SELECT source FROM model_versions WHERE version = 3") == [
        ("s3://bucket/3",)
    ]


def test_what_a_version_was_made_of_must_be_there(ends: Ends, api: Api) -> None:
    seeds = seed(ends.source)
    uri = api.get("runs/get", run_id=seeds.run)["run"]["info"]["artifact_uri"]
    api.post("registered-models/create", name="m")
    sources = ("a file", "gone run", "gone logged model", "a folder of a gone run", "kept")
    for name in sources:
        assert version(api, "m", "s3://bucket/kept", description=name)
    gone = "e" * 32
    texts = ("/opt/model", f"runs:/{gone}/m", f"models:/m-{gone}", uri.replace(seeds.run, gone))
    with closing(sqlite3.connect(ends.source.database)) as base, base:
        for number, text in enumerate(texts, 1):
            base.execute("UPDATE model_versions SET source = ? WHERE name = 'm' AND version = ?", (text, number))
    report = ends.copy(1)
    failed = {row["id"]: row["reason"] for row in report["rows"] if row["state"] == "failed"}
    assert failed.keys() == {"m/1", "m/2", "m/3", "m/4"}
    assert "/opt/model" in failed["m/1"]
    assert all(gone in failed[f"m/{number}"] for number in (2, 3, 4))
    wanted = expected(ends.source, ends.destination)["version"]
    assert registry(ends.destination)["version"] == [row for row in wanted if row[0] != "m" or row[1] == 5]


def test_models_are_renamed_and_found_again_by_their_origin(ends: Ends, tmp_path: Path) -> None:
    seed(ends.source)
    names = {WINE: "new wine", "greet": "hello"}
    library = Library(tmp_path / "state", names)
    assert library.copy(ends.source, ends.destination, Selection()).kinds["registered_model"]["failed"] == 0
    before = databases.dump(ends.destination)
    again = library.copy(ends.source, ends.destination, Selection())
    assert databases.dump(ends.destination) == before
    assert again.kinds["model_version"]["same"] == 7
    found = {row[0] for row in registry(ends.destination)["model"]}
    assert found == {"new wine", QUOTES, "a copy", "hello", "chat"}
    rows: list[Json] = []
    there = live(ends.destination)
    id_map(there, (), rows.append)
    there.close()
    moved = {(row["kind"], row["source_id"], row["destination_id"]) for row in rows}
    assert moved >= {("registered_model", WINE, "new wine"), ("prompt", "greet", "hello")}
    assert ("model_version", f"{WINE}/5", "new wine/5") in moved
    ((source,),) = servers.select(ends.destination, "SELECT source FROM model_versions WHERE name = 'a copy'")
    wine = servers.select(ends.destination, "SELECT source FROM model_versions WHERE name = 'new wine' AND version = 5")
    assert source in {"models:/new wine/5", wine[0][0]}
    result = verified(ends.tool, ends.source, ends.destination)
    assert result["ok"], result["differences"]


def test_models_and_prompts_are_chosen_by_name_and_glob(ends: Ends, tmp_path: Path) -> None:
    seed(ends.source)
    library = Library(tmp_path / "state")
    library.copy(ends.source, ends.destination, Selection(models=(WINE,), prompts=("gr*",)))
    assert {row[0] for row in registry(ends.destination)["version"]} == {WINE, "greet"}
    with pytest.raises(NotFoundError, match="nowhere"):
        library.copy(ends.source, ends.destination, Selection(models=("nowhere", "wine*")))


def test_a_dry_run_writes_nothing(ends: Ends, tmp_path: Path) -> None:
    seed(ends.source)
    before = databases.dump(ends.destination)
    report = Library(tmp_path / "state", dry_run=True).copy(ends.source, ends.destination, Selection())
    assert databases.dump(ends.destination) == before
    assert {kind: counts["failed"] for kind, counts in report.kinds.items() if counts["failed"]} == {}
    assert report.kinds["model_version"]["done"] == 7


@pytest.mark.parametrize("skip", [0, 1, 3])
@pytest.mark.parametrize("lost", [True, False])
def test_a_lost_or_doubled_create_makes_no_version_twice(ends: Ends, skip: int, lost: bool) -> None:
    seed(ends.source)
    with Proxy(ends.destination.url) as proxy:
        for method in ("model-versions/create", "registered-models/create"):
            proxy.add(cut_after() if lost else twice(), on("POST", method), skip=skip)
        there = between(ends.source, ends.destination)
        outcome = ends.tool(*COPY, *there[:-1], proxy.url)
    if lost:
        outcome.expect(0)
        same(ends.source, ends.destination)
    # A twin takes up a number until the next job deletes it. A version whose number it took is told as failed.
    failed = {row["id"] for row in ends.tool(*COPY, *there).json["rows"] if row["state"] == "failed"}
    wanted, got = expected(ends.source, ends.destination), registry(ends.destination)
    assert set(got["version"]) <= set(wanted["version"])
    missing = {f"{row[0]}/{row[1]}" for row in set(wanted["version"]) - set(got["version"])}
    assert missing == failed
    assert not lost or not missing


def test_what_a_killed_job_left_is_taken_away(ends: Ends, api: Api, there: Api) -> None:
    api.post("registered-models/create", name="m")
    version(api, "m", "s3://bucket/1")
    ends.copy()
    for _ in range(3):
        version(api, "m", "s3://bucket/n")
    for number in ("2", "3"):
        api.call("DELETE", rest.API + "model-versions/delete", json={"name": "m", "version": number})
    version(there, "m", "s3://bucket/n", tags=pairs(**{"mlflow_migration.model_version": "m/4"}))
    version(there, "m", "s3://bucket/n", tags=pairs(**{"mlflow_migration.placeholder": "true"}))
    ends.copy()
    same(ends.source, ends.destination)


def test_a_copy_of_a_copy_comes_back_to_where_it_was(ends: Ends) -> None:
    seed(ends.source)
    ends.copy()
    before = {key: rows for key, rows in databases.dump(ends.source).items() if "model" in key}
    report = Ends(ends.destination, ends.source, ends.tool).copy()
    assert {key: rows for key, rows in databases.dump(ends.source).items() if "model" in key} == before
    assert report["kinds"]["model_version"]["skipped"] == 7


def test_versions_of_logged_models_point_at_the_destinations_ones(
    ends: Ends, api: Api, there: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = []
    for one in (there, api):
        body = {"name": "lm", "experiment_id": "0"}
        models.append(one.post("logged-models", **body)["model"]["info"])
    new, old = models
    api.post("registered-models/create", name="m")
    for source in (f"models:/{old['model_id']}", old["artifact_uri"]):
        version(api, "m", source, model_id=old["model_id"])
        version(api, "m", "s3://bucket/gap")
    api.call("DELETE", rest.API + "model-versions/delete", json={"name": "m", "version": "2"})
    get = Lineage.get

    def known(self: Lineage, kind: str, source_id: str) -> str | None:
        pair = ("logged_model", old["model_id"])
        return str(new["model_id"]) if (kind, source_id) == pair else get(self, kind, source_id)

    monkeypatch.setattr(Lineage, "get", known)
    library = Library(tmp_path / "state")
    selection = Selection(kinds=("registered_model", "model_version"))
    assert library.copy(ends.source, ends.destination, selection).kinds["model_version"]["done"] == 3
    sources = servers.select(ends.destination, "SELECT version, source FROM model_versions ORDER BY 1")
    assert sources[0] == (1, f"models:/{new['model_id']}")
    assert sources[2:] == [(3, new["artifact_uri"]), (4, "s3://bucket/gap")]
    assert library.copy(ends.source, ends.destination, selection).kinds["model_version"]["same"] == 3


def test_a_server_without_a_registry_has_no_models(ends: Ends) -> None:
    with Proxy(ends.source.url) as proxy:
        proxy.add(status(404, "ENDPOINT_NOT_FOUND"), on("GET", "registered-models/search"), times=None)
        proxy.add(status(404, "ENDPOINT_NOT_FOUND"), on("GET", "model-versions/search"), times=None)
        places = ("--src-mlflow-uri", proxy.url, "--dst-mlflow-uri", ends.destination.url)
        ends.tool(*COPY, *places).expect(0)
    assert registry(ends.destination)["model"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "-1"}, "version"),
        ({"version": "3"}, "belongs into"),
        ({"tags": [PROMPT]}, "it is no model_version"),
        ({"name": "../out"}, "belongs into"),
    ],
)
def test_a_bundle_that_lies_about_a_version_is_refused(
    ends: Ends, api: Api, tmp_path: Path, change: Json, words: str
) -> None:
    api.post("registered-models/create", name="m")
    version(api, "m", "s3://bucket/1")
    bundle = tmp_path / "bundle"
    place = ("--tracking-uri", ends.source.url, "--experiments", "all", "--output-dir", bundle)
    ends.tool("export-all", *place).expect(0)
    path = bundle / "models" / "m" / "1" / "model_version.json"
    head = json.loads(path.read_text("utf-8"))
    head["mlflow"].update(change)
    path.write_text(json.dumps(head), "utf-8")
    Folder(bundle).seal()
    target = ("--tracking-uri", ends.destination.url, "--input-dir", bundle)
    outcome = ends.tool("import-all", *target).expect(4)
    assert words in outcome.stderr
    assert registry(ends.destination)["model"] == []
