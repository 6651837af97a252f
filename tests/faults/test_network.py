"""Network faults are survived: all arrives, once. What can't be survived is told, and the next command goes on."""

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Outcome, ServerPool, Tool
from tests.faults import EXPERIMENTS, FILES_EACH, KEYS, RUNS, Setting, Stage, run_names, staged
from tests.faults.proxy import (
    Answer,
    Exchange,
    Fault,
    Matches,
    Proxy,
    busy_until,
    cut_after,
    cut_before,
    cut_body,
    locked,
    on,
    slow,
    status,
    trickle,
    twice,
)
from tests.rest import Json

CREATE, BATCH, UPDATE = on("POST", "runs/create"), on("POST", "runs/log-batch"), on("POST", "runs/update")
INPUTS, UPLOAD = on("POST", "runs/log-inputs"), on("PUT", "mlflow-artifacts/artifacts/")
NEW_EXPERIMENT, DELETE = on("POST", "experiments/create"), on("POST", "runs/delete")
SEARCH, HISTORY = on("POST", "runs/search"), on("GET", "metrics/get-history-bulk")
DOWNLOAD, LIST = on("GET", r"mlflow-artifacts/artifacts/.*weights\.bin"), on("GET", r"artifacts(/list)?\?")


@pytest.fixture
def stage(shared_folder: Path, template: Path, server_pool: ServerPool, run_tool: Tool) -> Iterator[Stage]:
    """The corpus at the source, nothing at the destination."""
    with staged(Setting(shared_folder, template, server_pool), run_tool) as stage:
        yield stage


def rows(ended: Outcome, state: str) -> list[Json]:
    """The report's rows in that state."""
    return [row for row in ended.json["rows"] if row["state"] == state]


@dataclass(frozen=True)
class Trouble:
    """A fault for the requests of one sort: `times` of them after the first `skip`."""

    fault: Fault
    which: Matches
    times: int | None = 1
    skip: int = 0

    def apply(self, proxy: Proxy) -> None:
        proxy.add(self.fault, self.which, self.times, self.skip)


def page(code: int) -> Fault:
    """A gateway's own answer: a page, not MLflow's JSON."""

    def fault(exchange: Exchange) -> None:
        text = b"<html><body>Bad gateway</body></html>"
        exchange.send(Answer(code, [("Content-Type", "text/html")], text))

    return fault


LOCKED_500 = status(500, "INTERNAL_ERROR", "(sqlite3.OperationalError) database is locked [SQL: INSERT INTO params]")

WHILE_WRITING = {
    "429 with seconds": [Trouble(status(429, "REQUEST_LIMIT_EXCEEDED", "slow down", "1"), CREATE, 3)],
    "429 with a date": [Trouble(busy_until(2), BATCH, 2)],
    "429 without a time": [Trouble(status(429, "REQUEST_LIMIT_EXCEEDED", "slow down"), UPLOAD, 2)],
    "503 for everything": [Trouble(status(503), on(), 6)],
    "database locked": [Trouble(locked(), CREATE, 3), Trouble(LOCKED_500, BATCH, 2)],
    "a gateway's page": [Trouble(page(502), on(), 3, skip=4)],
    "cut before": [Trouble(cut_before(), which, 2) for which in (NEW_EXPERIMENT, CREATE, INPUTS, UPLOAD, UPDATE)],
    "experiment ambiguous": [Trouble(cut_after(), NEW_EXPERIMENT)],
    "run ambiguous": [Trouble(cut_after(), CREATE, 3, skip=1)],
    "run's answer cut": [Trouble(cut_body(), CREATE, 2)],
    "the rest ambiguous": [Trouble(cut_after(), which, 2) for which in (BATCH, UPDATE, INPUTS, UPLOAD, DELETE)],
    "delivered twice": [Trouble(twice(), which, None) for which in (BATCH, UPDATE, INPUTS, UPLOAD)],
    "slow": [Trouble(slow(0.05), on(), None)],
}

WHILE_READING = {
    "429 with seconds": Trouble(status(429, "REQUEST_LIMIT_EXCEEDED", "slow down", "1"), on(), 3),
    "503 on pages": Trouble(status(503), SEARCH, 2),
    "page cut": Trouble(cut_body(), SEARCH, 2),
    "history cut": Trouble(cut_body(), HISTORY, 2),
    "history refused once": Trouble(status(500, "INTERNAL_ERROR", "boom"), HISTORY, 1),
    "no bulk history": Trouble(page(404), HISTORY, None),
    "listing cut": Trouble(cut_body(), LIST, 3),
    "file cut in its body": Trouble(cut_body(), DOWNLOAD, 4),
    "everything trickles": Trouble(trickle(0.1), on(), None),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "503 for everything" else []) for name in WHILE_WRITING],
)
def test_an_import_survives(stage: Stage, name: str) -> None:
    stage.put_bundle()
    for trouble in WHILE_WRITING[name]:
        trouble.apply(stage.dst)
    stage.tool(*stage.load).expect(0)
    assert stage.dst.struck >= sum(trouble.times or 1 for trouble in WHILE_WRITING[name]), "a fault was never applied"
    stage.arrived()


@pytest.mark.parametrize("name", WHILE_READING)
def test_an_export_survives(stage: Stage, name: str) -> None:
    WHILE_READING[name].apply(stage.src)
    stage.tool(*stage.export).expect(0)
    assert stage.src.struck > 0, "the fault was never applied"
    stage.exported()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_copy_survives_a_storm_at_both_ends(stage: Stage, seed: int) -> None:
    faults = [status(503), status(429, retry_after="0"), cut_before(), cut_after(), cut_body(), slow(0.1), page(502)]

    def one_in(parts: int, part: int) -> Matches:
        """Requests spread without a pattern, the same ones each time."""
        return lambda request: zlib.crc32(f"{seed} {request.number}".encode()) % parts == part

    for proxy in (stage.src, stage.dst):
        for index, fault in enumerate(faults):
            proxy.add(fault, one_in(100, index), times=None)
    stage.tool(*stage.copy).expect(0)
    assert stage.src.struck + stage.dst.struck >= 10
    stage.arrived()


def test_a_run_created_twice_by_the_network_is_there_once(stage: Stage) -> None:
    stage.dst.add(twice(), CREATE, times=2, skip=1)
    stage.tool(*stage.copy)
    assert stage.dst.struck == 2
    stage.tool(*stage.copy).expect(0)
    # REST can put a surplus run into the trash, but not remove it.
    assert run_names(stage.destination, active=True) == run_names(stage.source, active=True)


def test_retry_after_holds_back_every_worker(stage: Stage) -> None:
    stage.dst.add(status(429, "REQUEST_LIMIT_EXCEEDED", "slow down", "2"), CREATE, skip=3)
    stage.tool(*stage.copy, "--workers", "8").expect(0)
    refused = [request for request in stage.dst.seen if request.route == "runs/create"][3]
    # Requests that were already on their way may still come in at once.
    early = [r.route for r in stage.dst.seen if refused.started + 0.3 < r.started < refused.started + 1.9]
    assert early == []
    stage.arrived()


def test_no_more_requests_than_needed_and_never_more_at_once_than_workers(stage: Stage) -> None:
    stage.tool(*stage.copy, "--workers", "3").expect(0)
    assert stage.src.most_in_flight <= 3
    assert stage.dst.most_in_flight <= 3
    asked, sent = stage.src.counts(), stage.dst.counts()
    assert asked["GET", "metrics/get-history-bulk"] <= len(EXPERIMENTS) * len(KEYS)
    assert asked["POST", "runs/search"] <= len(EXPERIMENTS) + 1
    assert asked["GET", "runs/get"] == 0
    assert sent["POST", "experiments/create"] == len(EXPERIMENTS)
    assert sent["POST", "runs/create"] == RUNS
    assert sent["PUT", "mlflow-artifacts/artifacts"] == RUNS * FILES_EACH
    # 1 log-batch, 1 log-inputs, 1 update and the completion tag; the second pass relinks nested runs.
    assert sum(sent.values()) <= RUNS * (FILES_EACH + 5) + 30


def test_a_finished_copy_asks_little_and_writes_nothing(stage: Stage) -> None:
    stage.tool(*stage.copy).expect(0)
    stage.dst.clear()
    stage.tool(*stage.copy).expect(0)
    reads = {"experiments/search", "runs/search", "experiments/get-by-name", "experiments/get", "runs/get"}
    written = {call: n for call, n in stage.dst.counts().items() if call[0] != "GET" and call[1] not in reads}
    assert written == {}


# What fails for good for one run only: where, and which requests (`{run}` is the source's run id).
FOR_GOOD = {
    "its histories": ("src", "GET", "metrics/get-history.*{run}", ""),
    "its files": ("src", "GET", "artifacts.*{run}", ""),
    "its creation": ("dst", "POST", "runs/create", "{run}"),
}


@pytest.mark.parametrize(
    "what", ["its files", *(pytest.param(what, marks=pytest.mark.slow) for what in FOR_GOOD if what != "its files")]
)
def test_one_run_that_fails_for_good_is_told_and_done_by_the_next_command(stage: Stage, what: str) -> None:
    end, method, route, body = FOR_GOOD[what]
    run_id = stage.corpus.runs["alpha 4"]
    proxy = stage.src if end == "src" else stage.dst
    which = on(method, route.format(run=run_id), body.format(run=run_id))
    proxy.add(status(500, "INTERNAL_ERROR", "cursed"), which, times=None)
    ended = stage.tool(*stage.copy, "--json")
    assert ended.code == 1, str(ended)
    failed = rows(ended, "failed")
    assert [row["id"] for row in failed] == [run_id], str(ended)
    assert "cursed" in failed[0]["reason"]
    assert ended.json["kinds"]["run"]["failed"] == 1
    assert ended.json["kinds"]["run"]["done"] == RUNS - 1
    proxy.clear()
    stage.tool(*stage.copy).expect(0)
    stage.arrived()


def test_a_refused_run_is_told_at_once_and_not_repeated(stage: Stage) -> None:
    run_id = stage.corpus.runs["alpha 4"]
    refused = status(400, "INVALID_PARAMETER_VALUE", "not this one")
    stage.dst.add(refused, on("POST", "runs/create", run_id), times=None)
    ended = stage.tool(*stage.copy, "--json")
    assert ended.code == 1, str(ended)
    assert [(row["id"], "not this one" in row["reason"]) for row in rows(ended, "failed")] == [(run_id, True)]
    assert stage.dst.struck == 1


@pytest.mark.parametrize("after", [0, pytest.param(25, marks=pytest.mark.slow)])
@pytest.mark.parametrize("end", ["src", "dst"])
def test_a_server_that_dies_ends_the_command_and_the_next_one_goes_on(stage: Stage, end: str, after: int) -> None:
    proxy = stage.src if end == "src" else stage.dst
    proxy.add(cut_before(), on(), times=None, skip=after)
    started = time.monotonic()
    ended = stage.tool(*stage.copy, "--json", "--patience", "4", timeout=60)
    assert time.monotonic() - started < 25
    assert ended.code == 3, str(ended)
    assert ended.stderr.startswith("error: ") or "\nerror: " in ended.stderr, str(ended)
    assert ended.json["error"]["code"] == 3
    assert proxy.url in ended.json["error"]["message"]
    assert "Traceback" not in ended.stderr
    proxy.clear()
    stage.tool(*stage.copy).expect(0)
    stage.arrived()
