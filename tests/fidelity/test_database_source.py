"""A database as the source: what is read from its tables is what a server on it answers, and what REST hides."""

import json
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import bundle_content, databases, genai, rest, seeding, servers, traces
from tests.conftest import Run, ServerFactory
from tests.fidelity import (
    test_evaluation_dataset,
    test_gateway,
    test_issue,
    test_logged_models,
    test_mcp_server,
    test_registry,
    test_review,
    test_scorer,
    test_webhook,
)
from tests.golden.__main__ import seed as seed_golden
from tests.postgres import Postgres
from tests.rest import Api
from tests.servers import Options, Server

ALL = ("--allow-loss", "all", "-q")
SECRET = ("--allow-loss", "secret", "--json")


def uri(server: Server) -> str:
    """The address of the database behind a server."""
    return f"sqlite:///{server.database}"


def seed_traces(server: Server) -> None:
    traces.seed(Api(server.url))


SEEDS: dict[str, tuple[Callable[[Server], object], ...]] = {
    "every kind": (seed_golden, seed_traces, test_mcp_server.seed, test_logged_models.seed, test_webhook.seed),
    "gateway": (test_gateway.seed, test_registry.seed),
    "reviews": (test_review.seed,),
    "issues": (test_issue.seed,),
    "scorers": (test_scorer.seed,),
    "datasets": (test_evaluation_dataset.seed,),
}


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_bundle_made_of_the_tables_is_the_one_made_by_its_server(
    seeds: str, empty_source: Server, run_here: Run, tmp_path: Path
) -> None:
    for seed in SEEDS[seeds]:
        seed(empty_source)
    both_bundles_are_the_same(empty_source, run_here, tmp_path)


def test_a_bundle_made_of_the_tables_holds_awkward_runs_as_their_server_gives_them(
    server_a: Server, run_here: Run, tmp_path: Path
) -> None:
    both_bundles_are_the_same(server_a, run_here, tmp_path)


@pytest.mark.slow
def test_a_bundle_made_of_postgresql_is_the_one_made_by_its_server(
    postgres: Postgres, make_server: ServerFactory, run_here: Run, tmp_path: Path
) -> None:
    place = postgres.database()
    server = make_server(Options(database=place))
    seed_golden(server)
    seed_traces(server)
    test_mcp_server.seed(server)
    run_here("export-all", "--tracking-uri", server.url, "--output-dir", tmp_path / "rest", *ALL).expect(0)
    export_tables(place, server, run_here, tmp_path)
    assert bundle_content.differing(tmp_path / "rest", tmp_path / "tables") == []
    roots = ("--src-artifact-root", server.artifacts, "-q")
    run_here("verify", place, server.url, *roots).expect(0)


def test_a_wrong_password_is_told_without_the_password(postgres: Postgres, run_here: Run, tmp_path: Path) -> None:
    _, _, rest = postgres.database().partition("@")
    place = f"postgresql://nobody:a-secret@{rest}"
    for command in (("export-all", "--tracking-uri", place, "--output-dir", tmp_path / "b"), ("doctor", place)):
        told = run_here(*command)
        assert told.code == 3, told
        assert "nobody" in told.stdout + told.stderr
        assert "a-secret" not in told.stdout + told.stderr
        assert "Traceback" not in told.stderr
    gone = "postgresql://me:a-secret@127.0.0.1:1/mlflow"
    told = run_here("export-all", "--tracking-uri", gone, "--output-dir", tmp_path / "b").expect(3)
    assert "can't open postgresql://127.0.0.1:1/mlflow" in told.stderr
    assert "a-secret" not in told.stderr


def both_bundles_are_the_same(server: Server, run_here: Run, folder: Path) -> None:
    """Export a server and the database behind it, which stays as it is, and compare the two file by file."""
    run_here("export-all", "--tracking-uri", server.url, "--output-dir", folder / "rest", *ALL).expect(0)
    before = databases.dump(server)
    export_tables(uri(server), server, run_here, folder)
    assert databases.dump(server) == before
    assert bundle_content.differing(folder / "rest", folder / "tables") == []
    assert len(bundle_content.content(folder / "tables")) > 3


def export_tables(place: str, server: Server, run_here: Run, folder: Path) -> None:
    root = ("--artifact-root", server.artifacts)
    run_here("export-all", "--tracking-uri", place, *root, "--output-dir", folder / "tables", *ALL).expect(0)


def test_what_is_copied_from_a_database_is_equal_and_the_second_time_nothing_is_written(
    empty_source: Server, destination: Server, run_here: Run
) -> None:
    seed_golden(empty_source)
    seed_traces(empty_source)
    roots = ("--src-artifact-root", empty_source.artifacts)
    copy = ("copy-all", "--src-mlflow-uri", uri(empty_source), "--dst-mlflow-uri", destination.url, *roots, *SECRET)
    run_here(*copy).expect(0)
    compared = run_here("verify", uri(empty_source), destination.url, *roots, "--json").expect(0).json
    assert compared["kinds"]["run"]["equal"] > 1
    assert compared["kinds"]["trace"]["equal"] > 6
    there = databases.dump(destination)
    again = run_here(*copy).expect(0).json
    assert all(counts["done"] == counts["updated"] == 0 for counts in again["kinds"].values())
    assert databases.dump(destination) == there
    run_here("verify", uri(empty_source), empty_source.url, *roots, "-q").expect(0)
    ends = ("--dst-artifact-root", destination.artifacts)
    run_here("verify", uri(empty_source), uri(destination), *roots, *ends, "-q").expect(0)
    both = ("--dst-artifact-root", empty_source.artifacts)
    run_here("diff", empty_source.url, uri(empty_source), *both, "-q").expect(0)


@dataclass(frozen=True)
class Hidden:
    """Ids of what REST doesn't show."""

    trace: str
    model: str
    run: str
    folder: Path


@pytest.fixture
def hidden(empty_source: Server) -> Hidden:
    """A server whose database and disk hold what its REST API doesn't give whole."""
    api = Api(empty_source.url)
    experiment = api.post("experiments/create", name="hidden")["experiment_id"]
    info = api.post("runs/create", experiment_id=experiment, start_time=3)["run"]["info"]
    rest.upload(api, info["artifact_uri"], "plain.txt", b"plain")
    trace = "tr-" + "7" * 32
    traces.log_spans(api, experiment, traces.span("7" * 32, 1))
    traces.start(api, experiment, trace, tags={"long": "t" * 5000}, trace_metadata={"long": "m" * 3000})
    model = test_logged_models.create(api, experiment, name="gone")["model_id"]
    api.call("DELETE", f"{rest.API}logged-models/{model}")
    folder = seeding.artifact_folder(empty_source, info["artifact_uri"])
    (folder / "a#b %41.txt").write_bytes(b"sharp")
    return Hidden(trace, model, info["run_id"], folder)


def test_what_rest_cuts_or_never_shows_is_in_the_bundle(
    hidden: Hidden, empty_source: Server, run_here: Run, tmp_path: Path
) -> None:
    place = ("--tracking-uri", uri(empty_source), "--artifact-root", empty_source.artifacts)
    run_here("export-all", *place, "--output-dir", tmp_path / "b", "-q").expect(0)
    found = bundle_content.content(tmp_path / "b")
    (lines,) = [value for name, value in found.items() if "/traces/" in name and name.endswith(".jsonl")]
    head = lines[0]["mlflow"]
    assert (head["trace_metadata"]["long"], head["tags"]["long"]) == ("m" * 3000, "t" * 5000)
    assert any(hidden.model in name for name in found)
    assert b"sharp" in found.values()
    run_here("verify", uri(empty_source), tmp_path / "b", "--src-artifact-root", empty_source.artifacts).expect(0)
    run_here("verify", tmp_path / "b").expect(0)


def test_what_no_server_shows_is_told_and_what_it_cuts_arrives_whole(
    hidden: Hidden, empty_source: Server, destination: Server, run_here: Run
) -> None:
    (hidden.folder / "a#b %41.txt").unlink()
    ends = ("--src-mlflow-uri", uri(empty_source), "--dst-mlflow-uri", destination.url)
    roots = ("--src-artifact-root", empty_source.artifacts)
    report = run_here("copy-all", *ends, *roots, "--json", "-v").expect(0).json
    (row,) = [row for row in report["rows"] if row["id"] == hidden.model]
    assert (row["state"], row["kind"]) == ("skipped", "logged_model")
    assert "no server would show it" in row["reason"]
    query = "SELECT value FROM trace_request_metadata WHERE request_id = ? AND key = 'long'"
    assert genai.rows(destination, query, hidden.trace) == [("m" * 3000,)]
    run_here("verify", uri(empty_source), destination.url, *roots, "-q").expect(0)


def test_names_that_mlflow_cannot_give_are_read_from_disk_and_lost_at_a_server(
    hidden: Hidden, empty_source: Server, destination: Server, run_here: Run
) -> None:
    ends = ("--src-mlflow-uri", uri(empty_source), "--dst-mlflow-uri", destination.url)
    report = run_here("copy-all", *ends, "--src-artifact-root", empty_source.artifacts, "--json").expect(1).json
    (lost,) = [row for row in report["rows"] if row["state"] == "unsupported"]
    assert "a#b %41.txt" in lost["name"]


def test_without_the_artifact_root_artifacts_are_told_as_lost_and_the_rest_goes(
    source: Server, run_here: Run, tmp_path: Path
) -> None:
    place = ("--tracking-uri", uri(source), "--output-dir", tmp_path / "b", "--json")
    report = run_here("export-all", *place).expect(1).json
    lost = [row for row in report["rows"] if row["kind"] == "artifact"]
    runs = genai.rows(source, "SELECT run_uuid FROM runs")
    assert len(lost) >= len(runs)
    assert all("--artifact-root" in row["reason"] for row in lost)
    assert report["kinds"]["run"]["done"] == len(runs)
    wrong = run_here("export-all", *place, "--artifact-root", tmp_path / "nowhere").expect(2).json
    assert "no such folder" in wrong["error"]["message"]


def test_addresses_that_lead_out_of_the_artifact_root_are_refused(
    source: Server, run_here: Run, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("hidden away")
    servers.execute(source, "UPDATE runs SET artifact_uri = 'mlflow-artifacts:/../../secret'")
    root = tmp_path / "a" / "root"
    root.mkdir(parents=True)
    place = ("--tracking-uri", uri(source), "--artifact-root", root, "--output-dir", tmp_path / "b", "--json")
    report = run_here("export-experiments", *place, "--experiments", "all").expect(1).json
    assert any("refused as unsafe" in row["reason"] for row in report["rows"])
    assert all(b"hidden away" not in path.read_bytes() for path in databases.files(tmp_path / "b").values())


def test_artifacts_outside_the_proxy_are_read_where_they_lie(
    make_server: ServerFactory, template: Path, run_here: Run, tmp_path: Path
) -> None:
    server = make_server(Options(template=template, serve_artifacts=False))
    api = Api(server.url)
    experiment = api.post("experiments/create", name="direct")["experiment_id"]
    info = api.post("runs/create", experiment_id=experiment, start_time=3)["run"]["info"]
    folder = Path(info["artifact_uri"])
    (folder / "plots").mkdir(parents=True)
    (folder / "plots" / "a.txt").write_bytes(b"direct")
    run_here("export-all", "--tracking-uri", server.url, "--output-dir", tmp_path / "rest", *ALL).expect(0)
    run_here("export-all", "--tracking-uri", uri(server), "--output-dir", tmp_path / "tables", "-q").expect(0)
    assert bundle_content.differing(tmp_path / "rest", tmp_path / "tables") == []
    assert b"direct" in bundle_content.content(tmp_path / "tables").values()


def test_no_secret_leaves_the_tables(empty_source: Server, run_here: Run, tmp_path: Path) -> None:
    test_gateway.seed(empty_source)
    hook = {"name": "hook", "url": "https://8.8.8.8/hook", "secret": "webhook-secret-1", "status": "DISABLED"}
    event = {"entity": "REGISTERED_MODEL", "action": "CREATED"}
    genai.call(empty_source, "POST", "../../2.0/mlflow/webhooks", json={**hook, "events": [event]})
    place = ("--tracking-uri", uri(empty_source), "--artifact-root", empty_source.artifacts)
    run_here("export-all", *place, "--output-dir", tmp_path / "b", *ALL).expect(0)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file())
    secrets = genai.rows(empty_source, "SELECT encrypted_value, wrapped_dek FROM secrets")
    secrets += genai.rows(empty_source, "SELECT secret, secret FROM webhooks WHERE secret IS NOT NULL")
    assert len(secrets) > 2
    for value in {part for row in secrets for part in row}:
        data = value if isinstance(value, bytes) else str(value).encode()
        assert data not in everything
    assert b"webhook-secret-1" not in everything


FILTERS = (
    "params.p = 'x'",
    "metrics.loss < 0.5 AND tags.t LIKE 'A%'",
    "attributes.start_time >= 2",
    "dataset.name = 'd'",
)


def test_a_search_text_finds_the_same_runs(empty_source: Server, run_here: Run, tmp_path: Path) -> None:
    api = Api(empty_source.url)
    experiment = api.post("experiments/create", name="some")["experiment_id"]
    for number in range(4):
        info = api.post("runs/create", experiment_id=experiment, start_time=number)["run"]["info"]
        seeding.log_params(api, info["run_id"], {"p": "x" if number % 2 else "y"})
        seeding.log_metric(api, info["run_id"], "loss", [(0, 1, number / 4)])
        api.post("runs/set-tag", run_id=info["run_id"], key="t", value="Ab" if number else "ab")
        if number == 3:
            seeding.log_dataset(api, info["run_id"], "d", {})
    for number, text in enumerate(FILTERS):
        asked = ("--experiments", "all", "--filter", text, "--artifact-root", empty_source.artifacts)
        for name, place in (("rest", empty_source.url), ("tables", uri(empty_source))):
            folder = tmp_path / f"{name} {number}"
            run_here("export-experiments", "--tracking-uri", place, "--output-dir", folder, *asked, *ALL).expect(0)
        assert bundle_content.differing(tmp_path / f"rest {number}", tmp_path / f"tables {number}") == [], text
    wrong = ("--tracking-uri", uri(empty_source), "--output-dir", tmp_path / "no", "--experiments", "all")
    told = run_here("export-experiments", *wrong, "--filter", "nonsense is this").expect(2)
    assert "not a filter" in told.stderr


def test_only_the_asked_workspace_is_read(source: Server, run_here: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(source.database)) as base, base:
        base.execute("INSERT INTO workspaces (name) VALUES ('team-a')")
        base.execute(
            "INSERT INTO experiments (name, workspace, artifact_location, lifecycle_stage) "
            "VALUES ('theirs', 'team-a', 'mlflow-artifacts:/workspaces/team-a/1', 'active')"
        )
        base.execute("INSERT INTO registered_models (name, workspace) VALUES ('their model', 'team-a')")
    place = ("--tracking-uri", uri(source), "--artifact-root", source.artifacts, *ALL, "--json")
    run_here("export-all", *place, "--output-dir", tmp_path / "theirs", "--workspace", "team-a").expect(0)
    run_here("export-all", *place, "--output-dir", tmp_path / "ours").expect(0)
    names = {
        folder: {
            value["mlflow"]["name"]
            for name, value in bundle_content.content(tmp_path / folder).items()
            if name.endswith(("experiment.json", "model.json"))
        }
        for folder in ("ours", "theirs")
    }
    assert names["theirs"] == {"theirs", "their model"}
    assert names["ours"].isdisjoint(names["theirs"])
    told = run_here("export-all", *place, "--output-dir", tmp_path / "no", "--workspace", "team-z").expect(2).json
    assert "no such workspace" in told["error"]["message"]


def test_what_is_no_database_ends_in_one_clear_message(template: Path, run_here: Run, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database")
    with closing(sqlite3.connect(tmp_path / "other.db")) as base, base:
        base.execute("CREATE TABLE mine (x)")
    for name, words in {
        "missing.db": "no such database",
        "other.db": "no MLflow database",
        "text.db": "not a database",
    }.items():
        place = f"sqlite:///{tmp_path / name}"
        told = run_here("export-all", "--tracking-uri", place, "--output-dir", tmp_path / "b")
        assert told.code in {2, 3}, told
        assert words in told.stderr
        assert "Traceback" not in told.stderr
        assert not (tmp_path / "b").exists()
    alone = run_here("verify", f"sqlite:///{template}").expect(2)
    assert "one database can't be verified alone" in alone.stderr


def test_doctor_plan_and_the_lists_take_a_database(source: Server, destination: Server, run_here: Run) -> None:
    place = uri(source)
    (row,) = run_here("doctor", place, "--json").expect(0).json["places"]
    experiments = genai.rows(source, "SELECT count(*) FROM experiments")[0][0]
    assert (row["kind"], row["experiments"], row["may_read"]) == ("database", experiments, True)
    root = ("--src-artifact-root", source.artifacts)
    planned = run_here("plan", place, destination.url, *root, "--json").expect(0).json
    assert planned["kinds"]["run"]["done"] == genai.rows(source, "SELECT count(*) FROM runs")[0][0]
    run_here("list-registered-models", "--tracking-uri", place, "--json").expect(0)
    run_here("id-map", place, "--json").expect(0)
    assert json.loads(run_here("http-client", "--resource", "x", "--tracking-uri", place).stdout or "{}") == {}


def test_a_broken_row_costs_its_object_and_is_told(empty_source: Server, run_here: Run, tmp_path: Path) -> None:
    seed_traces(empty_source)
    whole, image = "tr-" + "1" * 32, "tr-" + "3" * 32
    servers.execute(empty_source, "UPDATE spans SET content = '{\"not\": 1' WHERE trace_id = ?", image)
    place = ("--tracking-uri", uri(empty_source), "--artifact-root", empty_source.artifacts)
    report = run_here("export-all", *place, "--output-dir", tmp_path / "b", "--json").expect(1).json
    (failed,) = [row for row in report["rows"] if row["state"] == "failed"]
    assert (failed["kind"], failed["id"]) == ("trace", image)
    assert "broken in the database" in failed["reason"]
    lines = [
        value for name, value in bundle_content.content(tmp_path / "b").items() if name.endswith("traces-00001.jsonl")
    ]
    assert any(whole in json.dumps(value) for value in lines)


def test_the_next_command_that_is_shown_can_be_typed(
    source: Server, destination: Server, run_here: Run, tmp_path: Path
) -> None:
    place = ("--tracking-uri", uri(source), "--artifact-root", source.artifacts)
    exported = run_here("export-all", *place, "--output-dir", tmp_path / "b").expect(0)
    ends = ("--src-mlflow-uri", uri(source), "--dst-mlflow-uri", destination.url)
    copied = run_here("copy-all", *ends, "--src-artifact-root", source.artifacts).expect(0)
    for told in (exported, copied):
        _, _, line = told.stderr.partition("next: mlflow-migration ")
        run_here(*shlex.split(line.partition("\n")[0])).expect(0)


def test_values_that_are_not_finite_are_kept_in_a_bundle(empty_source: Server, run_here: Run, tmp_path: Path) -> None:
    run_id = genai.run(empty_source, genai.experiment(empty_source, "wild"))
    for step, value in enumerate((float("inf"), float("-inf"), 0.0)):
        point = ("k", run_id, step, step, value, step == 2)
        columns = "(key, run_uuid, timestamp, step, value, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
        servers.execute(empty_source, f"INSERT INTO metrics {columns}", *point)
        servers.execute(empty_source, f"INSERT OR REPLACE INTO latest_metrics {columns}", *point)
    place = ("--tracking-uri", uri(empty_source), "--artifact-root", empty_source.artifacts)
    run_here("export-all", *place, "--output-dir", tmp_path / "b", "-q").expect(0)
    (rows,) = [
        found for name, found in bundle_content.content(tmp_path / "b").items() if name.endswith("metrics.jsonl")
    ]
    assert rows == [{"key": "k", "points": [[0, 0, "Infinity"], [1, 1, "-Infinity"], [2, 2, "NaN"]]}]
    roots = ("--src-artifact-root", empty_source.artifacts, "-q")
    run_here("verify", uri(empty_source), tmp_path / "b", *roots).expect(0)
