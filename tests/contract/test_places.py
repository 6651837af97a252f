"""The contract of a place: what is put into it reads back equal, and putting it again changes nothing."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlflow_migration.bundle.writer import BundleWriter
from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.engine.lineage import Lineage
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import KINDS
from mlflow_migration.pipeline import BundleSink, BundleSource, LiveSink, LiveSource, Tools, bundle_folder, transfer
from mlflow_migration.places import Selection, Sink, Source, Writing
from mlflow_migration.records import Record
from mlflow_migration.report import Report
from mlflow_migration.server.address import Credentials
from mlflow_migration.server.live import Server as LiveServer
from mlflow_migration.server.rest import Rest
from tests import rest, traces
from tests.rest import Api
from tests.servers import Server

EVERYTHING = Selection()
SEEDED = ("experiment", "run", "trace")
"""The kinds of the small source; the others have content and a round trip of their own in tests/fidelity."""


@dataclass(frozen=True)
class Place:
    """One place under contract: filled by `fill`, read by `read`."""

    fill: Callable[[Selection], Report]
    read: Callable[[], Source]


def live(server: Server) -> LiveServer:
    """A connected server."""
    connected = LiveServer(Rest(server.url, Credentials(), workers=4))
    connected.connect()
    return connected


def _add_a_trace(source: Server) -> None:
    api = Api(source.url)
    experiment_id = rest.experiment(api, "one")["experiment_id"]
    traces.log_spans(api, experiment_id, traces.span("7" * 32, 1, attributes=traces.AWKWARD))
    info = traces.start(api, experiment_id, "tr-" + "7" * 32, tags={"team": "ünï"})
    traces.put_file(api, info, f"attachments/{traces.IMAGE}", b"PNG")
    api.close()


@pytest.fixture(params=["bundle", "server"])
def place(request: pytest.FixtureRequest, source: Server, destination: Server, tmp_path: Path) -> Iterator[Place]:
    """Each place, to be filled from the small source."""
    _add_a_trace(source)
    origin = live(source)
    there = live(destination)

    def fill(selection: Selection) -> Report:
        report = Report("contract", origin.address, request.param)
        ledger = Ledger(tmp_path / "state", {"place": request.param})
        writer = BundleWriter(tmp_path / "bundle", origin.address, {})
        sinks: dict[str, Sink] = {
            "bundle": BundleSink(writer, dry_run=False),
            "server": LiveSink(there, Lineage(there, ledger), Writing(origin.address)),
        }
        tools = Tools(ledger, report, Progress(quiet=True), threading.Event(), workers=4)
        transfer(LiveSource(origin), sinks[request.param], selection, tools)
        ledger.close()
        writer.finish({}, [])
        return report

    def read() -> Source:
        return BundleSource(bundle_folder(tmp_path / "bundle")) if request.param == "bundle" else LiveSource(there)

    yield Place(fill, read)
    origin.close()
    there.close()


def content(kind: str, record: Record) -> dict[str, Any]:
    """Everything of a record that must survive any place, its ids seen through."""
    module = KINDS[kind]
    known: dict[str, str] = module.swaps_of(record, lambda _: None) if module.ROWS else {}
    head = module.portable(record, known)
    head["tags"] = {
        key: value for key, value in head["tags"].items() if key not in {"mlflow.parentRunId", "mlflow.rootRunId"}
    }
    metrics = record.rows.get("metrics", lambda: iter(()))
    points = sorted((row["key"], *map(str, point)) for row in metrics() for point in row["points"])
    files = sorted((file.path, file.digest()) for file in record.files())
    return {"head": head, "rows": module.rows_summary(record, known), "points": points, "files": files}


def contents(source: Source, kind: str) -> list[dict[str, Any]]:
    found = [content(kind, record) for record in source.records(kind, EVERYTHING)]
    return sorted(found, key=lambda each: repr(each["head"]))


@pytest.mark.parametrize("kind", SEEDED)
def test_what_is_put_reads_back_equal(place: Place, source: Server, kind: str) -> None:
    report = place.fill(EVERYTHING)
    assert report.rows == []
    origin = LiveSource(live(source))
    read = place.read()
    if kind == "run":
        list(read.records("experiment", EVERYTHING))
    assert contents(read, kind) == contents(origin, kind)


@pytest.mark.parametrize("kind", SEEDED)
def test_putting_it_again_changes_nothing(place: Place, kind: str) -> None:
    place.fill(EVERYTHING)
    counts = place.fill(EVERYTHING).kinds[kind]
    assert counts["same"] == counts["asked"] > 0


@pytest.mark.parametrize("kind", SEEDED)
def test_a_record_is_found_by_its_id_and_none_by_an_unknown_one(place: Place, kind: str) -> None:
    place.fill(EVERYTHING)
    read = place.read()
    list(read.records("experiment", EVERYTHING))
    for record in read.records(kind, EVERYTHING):
        again = read.record(kind, record.id, EVERYTHING)
        assert again is not None
        assert content(kind, again) == content(kind, record)
    unknown = {"experiment": "987654321", "run": "0123456789abcdef0123456789abcdef", "trace": "tr-0"}
    assert read.record(kind, unknown[kind], EVERYTHING) is None


def test_a_name_that_is_not_there_is_said(place: Place) -> None:
    place.fill(EVERYTHING)
    with pytest.raises(NotFoundError, match="nobody's"):
        list(place.read().records("experiment", Selection(experiments=("nobody's",))))


def test_a_selection_is_kept_to(place: Place) -> None:
    counts = place.fill(Selection(experiments=("one",), deleted=False)).kinds
    assert counts["experiment"]["asked"] == 1
    assert counts["run"]["asked"] == 2
