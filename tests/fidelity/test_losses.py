"""What a destination cannot hold is said by name, never cut, dropped or mixed up in silence."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import databases, servers
from tests.conftest import Seeded, ServerFactory, Tool
from tests.rest import Json
from tests.servers import Options, Server


@dataclass(frozen=True)
class Journey:
    """The small corpus at the source, with trouble added to its run "parent", and an empty destination."""

    source: Server
    destination: Server
    tool: Tool
    parent: str

    def copy(self, *more: str) -> tuple[int, Json]:
        """Copy everything; returns the exit code and the report."""
        places = ("--src-mlflow-uri", self.source.url, "--dst-mlflow-uri", self.destination.url)
        outcome = self.tool("copy-experiments", *places, "--experiments", "all", "--json", *more, timeout=60)
        return outcome.code, outcome.json

    @property
    def folder(self) -> Path:
        """The artifact folder of "parent"."""
        return next(self.source.artifacts.glob(f"*/{self.parent}/artifacts"))

    @property
    def differences(self) -> list[str]:
        """What is not at the destination as it is at the source."""
        return databases.compare(self.source, self.destination)


@pytest.fixture
def journey(source: Server, small: Seeded, destination: Server, run_tool: Tool) -> Journey:
    """Both ends and the tool."""
    return Journey(source, destination, run_tool, small.corpus.runs["parent"])


def rows_about(report: Json, word: str) -> list[Json]:
    """Rows of the report that name something."""
    return [row for row in report["rows"] if word in f"{row['name']} {row['reason']}"]


def value_of(server: Server, key: str) -> list[str]:
    """All values of a param or tag key at a server."""
    query = "SELECT value FROM params WHERE key = ? UNION ALL SELECT value FROM tags WHERE key = ?"
    return [value for (value,) in servers.select(server, query, key, key)]


def test_a_param_too_long_for_the_destination_is_refused_by_name(journey: Journey) -> None:
    servers.execute(journey.source, "INSERT INTO params VALUES ('too long', ?, ?)", "é" * 6001, journey.parent)
    code, report = journey.copy()
    assert code == 1
    assert report["ok"] is False
    rows = rows_about(report, "too long")
    assert rows, report["rows"]
    assert "6001" in str(rows) or "6,001" in str(rows)
    assert "6000" in str(rows) or "6,000" in str(rows)
    assert value_of(journey.destination, "too long") in ([], ["é" * 6001])
    others = [text for text in journey.differences if journey.parent not in text]
    assert others == []


def test_a_tag_that_grew_too_long_is_never_cut(journey: Journey) -> None:
    assert journey.copy()[0] == 0
    long = "t" * 8500
    servers.execute(journey.source, "UPDATE tags SET value = ? WHERE key = 'k' AND run_uuid = ?", long, journey.parent)
    code, report = journey.copy()
    (got,) = value_of(journey.destination, "k")
    if got != long:
        assert got == "v"
        assert code == 1, report
        assert rows_about(report, "k")


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("INSERT INTO metrics (key, value, timestamp, run_uuid) VALUES ('bad(key', 1, 1, ?)", "bad(key"),
        ("INSERT INTO metrics (key, value, timestamp, run_uuid) VALUES ('neg', 1, -5, ?)", "neg"),
        ("INSERT INTO params (key, value, run_uuid) VALUES ('bad(param', 'x', ?)", "bad(param"),
    ],
)
def test_what_the_destination_refuses_is_named(journey: Journey, statement: str, word: str) -> None:
    servers.execute(journey.source, statement, journey.parent)
    if "metrics" in statement:
        servers.execute(
            journey.source,
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
            " SELECT key, value, timestamp, step, is_nan, run_uuid FROM metrics WHERE key = ?",
            word,
        )
    code, report = journey.copy()
    assert code == 1
    assert rows_about(report, word), report["rows"]
    assert [text for text in journey.differences if journey.parent not in text] == []


@pytest.mark.parametrize("name", ["with#hash.txt", "folder#1/inside.txt", "with%20percent.txt", "folder%20/inside.txt"])
def test_an_artifact_name_the_proxy_cannot_carry_is_named(journey: Journey, name: str) -> None:
    folder = journey.folder
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"hard to carry")
    code, report = journey.copy()
    assert code == 1
    rows = rows_about(report, name.split("/", maxsplit=1)[0])
    assert rows, report["rows"]
    assert {row["kind"] for row in rows} == {"artifact"}
    (difference,) = journey.differences
    assert f"artifact missing: {name!r}" in difference
    assert journey.copy("--allow-loss", "artifact")[0] == 0


@pytest.mark.parametrize(
    "folders",
    [[" lead"], [" "], ["?"], [";"], ["?a"], ["new\nline", "back\\slash", "%2e%2e", "%", "a%2fb", "tail ", "a?b;c"]],
    ids=repr,
)
def test_folders_that_mlflow_lists_wrongly_are_carried_or_named_and_never_endless(
    journey: Journey, folders: list[str]
) -> None:
    for folder in folders:
        made = journey.folder / folder
        made.mkdir()
        (made / "inside.txt").write_bytes(folder.encode())
    code, report = journey.copy()
    lost = journey.differences
    assert code == (1 if lost else 0), (lost, report["rows"])
    paths = {f"artifact missing: {folder + '/inside.txt'!r}": folder for folder in folders}
    for text in lost:
        folder = next(folder for words, folder in paths.items() if words in text)
        named = [
            row for row in report["rows"] if row["kind"] == "artifact" and folder in f"{row['name']} {row['reason']}"
        ]
        assert named, (text, report["rows"])


def test_a_waived_loss_is_still_in_the_report(journey: Journey) -> None:
    (journey.folder / "a#b").write_bytes(b"x")
    code, report = journey.copy("--allow-loss", "artifact")
    assert code == 0
    assert report["ok"] is True
    assert rows_about(report, "a#b")


def test_a_waived_loss_elsewhere_waives_nothing_here(journey: Journey) -> None:
    (journey.folder / "a#b").write_bytes(b"x")
    assert journey.copy("--allow-loss", "trace")[0] == 1


def test_a_name_with_percent_code_is_not_mixed_up_with_its_decoded_twin(journey: Journey) -> None:
    folder = journey.folder
    (folder / "a b").rename(folder / "moved away")
    (folder / "twin x.txt").write_bytes(b"the one with a space")
    (folder / "twin%20x.txt").write_bytes(b"the one with a percent code")
    code, report = journey.copy()
    assert code == 1
    assert rows_about(report, "twin%20x.txt")
    (difference,) = journey.differences
    assert "artifact missing: 'twin%20x.txt'" in difference


def test_an_export_keeps_a_record_of_what_it_could_not_read(journey: Journey) -> None:
    (journey.folder / "a#b").write_bytes(b"x")
    bundle = journey.tool.home / "bundle"
    place = ("--tracking-uri", journey.source.url, "--experiments", "all")
    outcome = journey.tool("export-experiments", *place, "--output-dir", bundle, "--json").expect(1)
    assert rows_about(outcome.json, "a#b")
    assert "a#b" in (bundle / "failures.jsonl").read_text("utf-8")


def test_names_a_proxy_cannot_carry_survive_between_plain_folders_or_are_named(
    journey: Journey, make_server: ServerFactory, template: Path
) -> None:
    direct = make_server(Options(template=template, serve_artifacts=False))
    servers.execute(direct, "UPDATE experiments SET artifact_location = ?", f"{direct.artifacts}/0")
    assert dataclasses.replace(journey, destination=direct).copy()[0] == 0
    folder = next(direct.artifacts.rglob("plain.bin")).parent
    for name in ("h#sh", "p%20", "sp ace"):
        (folder / name).write_bytes(name.encode())
    onward = dataclasses.replace(journey, source=direct)
    code, report = onward.copy()
    lost = onward.differences
    assert code == (1 if lost else 0)
    for text in lost:
        assert "artifact missing" in text
        assert rows_about(report, text.split("'")[-2]), text
    assert not any("sp ace" in text for text in lost)


def test_a_parent_that_the_source_no_longer_has_is_kept_as_it_is_and_named(journey: Journey) -> None:
    purged = "f" * 32
    servers.execute(journey.source, "UPDATE tags SET value = ? WHERE key = 'mlflow.parentRunId'", purged)
    code, report = journey.copy()
    assert journey.differences == []
    assert code in (0, 1)
    if code:
        assert all(purged in row["reason"] for row in report["rows"])
        (kind,) = {row["kind"] for row in report["rows"]}
        assert journey.copy("--allow-loss", kind)[0] == 0
