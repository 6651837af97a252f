"""The models scenario: registered models with many versions, all made of a few runs.

`python -m benchmarks.models export|import HOST PORT SHAPE.json` is the bare client, in a process of its own; it prints
the seconds on the wire.
"""

import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

from benchmarks import corpus, limit, measure, ours, peer
from benchmarks.measure import Bench, Job
from benchmarks.row import Amount, Row
from benchmarks.wire import Wire
from demo import servers

NAME = "models"
PEER_MODELS = 4
RUNS = corpus.Shape(runs=10, metrics=1, steps=1, params=1, artifacts=4, artifact_bytes=1000)
"""What the versions were made of."""


@dataclass(frozen=True)
class Shape:
    """How many models, and versions of each."""

    models: int = 50
    versions: int = 10

    @property
    def amount(self) -> Amount:
        return Amount(self.models * self.versions)


def rows(bench: Bench, shape: Shape, peer_too: bool) -> Iterator[Row]:
    """The peer moves fewer models and is compared per version; all else moves the whole corpus."""
    if peer_too:
        fewer = replace(shape, models=min(PEER_MODELS, shape.models))
        with source_of(bench, "of the peer", fewer) as source:
            bundle = bench.folder / "models bundle of the peer"
            exported = measure.run(bench, NAME, peer.export_job(source, bundle, NAME), fewer.amount)
            yield exported
            if exported.exit_code == 0:
                with measure.fresh_destination(bench, "models destination of the peer") as there:
                    row = measure.run(bench, NAME, peer.import_job(there, bundle, NAME), fewer.amount)
                    yield measure.judged(row, tally(source.folder), tally(there.folder))
    with source_of(bench, "of all", shape) as source:
        yield measure.run(bench, NAME, limit_job(bench, "export", source, shape), shape.amount)
        with measure.fresh_destination(bench, "models destination of the limit") as there:
            yield measure.run(bench, NAME, limit_job(bench, "import", there, shape), shape.amount)
        yield from moved(bench, source, shape)


def moved(bench: Bench, source: servers.LocalServer, shape: Shape) -> Iterator[Row]:
    """Export, import, verify and copy by this tool."""
    bundle, expected = bench.folder / "models bundle", tally(source.folder)
    exported = measure.run(bench, NAME, ours.export_job(source, bundle, ours.EVERY_MODEL), shape.amount)
    yield exported
    if exported.exit_code == 0:
        with measure.fresh_destination(bench, "models destination") as there:
            row = measure.run(bench, NAME, ours.import_job(there, bundle, ours.EVERY_MODEL), shape.amount)
            yield measure.judged(row, expected, tally(there.folder))
        yield measure.run(bench, NAME, ours.verify_job(source, bundle, ours.EVERY_MODEL), shape.amount)
    with measure.fresh_destination(bench, "models destination of copy") as there:
        row = measure.run(bench, NAME, ours.copy_job(source, there, ours.EVERY_MODEL), shape.amount)
        yield measure.judged(row, expected, tally(there.folder))


@contextlib.contextmanager
def source_of(bench: Bench, name: str, shape: Shape) -> Iterator[servers.LocalServer]:
    """A server that holds the corpus."""
    folder = servers.copy_folder(bench.template, bench.folder / f"models source {name}")
    corpus.seed(folder, RUNS)
    seed(folder, shape)
    with servers.serving(folder, bench.server_workers) as server:
        yield server


def seed(folder: Path, shape: Shape) -> None:
    """Write the models into the database of a stopped server."""
    begin = corpus.START_MS
    with contextlib.closing(sqlite3.connect(servers.database_of(folder))) as database, database:
        for number in range(shape.models):
            name = model_name(number)
            columns = "name, creation_time, last_updated_time, description"
            corpus.insert(database, "registered_models", columns, [(name, begin, begin, "a model")])
            corpus.insert(database, "registered_model_tags", "key, value, name", [("team", "bench", name)])
            corpus.insert(database, "registered_model_aliases", "alias, version, name", [("champion", 1, name)])
            versions = range(1, shape.versions + 1)
            columns = "name, version, creation_time, last_updated_time, description, current_stage, source, run_id"
            made = (version_row(name, version) for version in versions)
            corpus.insert(database, "model_versions", f"{columns}, status, storage_location", made)
            tags = [("stage", f"try {version}", name, version) for version in versions]
            corpus.insert(database, "model_version_tags", "key, value, name, version", tags)


def version_row(name: str, version: int) -> tuple[object, ...]:
    """One version's row; it was made of one of the runs."""
    run = corpus.run_id(version % RUNS.runs)
    place = f"mlflow-artifacts:/{corpus.EXPERIMENT_ID}/{run}/artifacts/model"
    times = (corpus.START_MS, corpus.START_MS)
    return (name, version, *times, f"version {version}", "None", place, run, "READY", place)


def model_name(number: int) -> str:
    """The name of model number `number`."""
    return f"model-{number:04d}"


def tally(folder: Path) -> dict[str, int]:
    """What a server's folder holds, without asking the server."""
    queries = {
        "models": "SELECT count(*) FROM registered_models WHERE description = 'a model'",
        "versions": "SELECT count(*) FROM model_versions WHERE description = 'version ' || version",
        "version tags": "SELECT count(*) FROM model_version_tags WHERE value = 'try ' || version",
        "aliases": "SELECT count(*) FROM registered_model_aliases WHERE version = 1",
        "runs": "SELECT count(*) FROM runs",
    }
    return corpus.counted(folder, queries)


def limit_job(bench: Bench, action: str, server: servers.LocalServer, shape: Shape) -> Job:
    """The bare client's command line."""
    told = measure.described(bench, f"models-{shape.models}", asdict(shape))
    words = ["-m", "benchmarks.models", action, servers.HOST, str(server.port), told]
    return Job(action, measure.LIMIT, words, (server,), timed=True)


def read_all(wire: Wire) -> None:
    """The pages of models and versions, and the runs the versions were made of with their files."""
    for what, most in (("registered-models", 100), ("model-versions", 1000)):
        token, first = "", True
        while first or token:
            query = urlencode({"max_results": most} | ({"page_token": token} if token else {}))
            page = wire.json("GET", f"{limit.API}/{what}/search?{query}")
            token, first = page.get("next_page_token", ""), False
    limit.export(wire, RUNS)


def write_all(wire: Wire, shape: Shape) -> float:
    """Runs, then model by model its versions in order and its alias; serialised before the clock starts."""
    experiment = limit.make_experiment(wire)
    runs = limit.prepare(RUNS, experiment)
    models = [prepared(number, shape) for number in range(shape.models)]

    def write(requests: list[tuple[str, bytes]]) -> None:
        for path, body in requests:
            wire.send("POST", f"{limit.API}/{path}", body)

    def work() -> None:
        limit.import_all(wire, experiment, runs)
        with ThreadPoolExecutor(limit.IMPORT_THREADS) as pool:
            for _ in pool.map(write, models):
                pass

    return limit.timed(work)


def prepared(number: int, shape: Shape) -> list[tuple[str, bytes]]:
    """The requests that make one model."""
    name = model_name(number)
    tags = [{"key": "team", "value": "bench"}]
    found: list[tuple[str, dict[str, object]]] = [
        ("registered-models/create", {"name": name, "description": "a model", "tags": tags})
    ]
    for version in range(1, shape.versions + 1):
        # Without a run, whose id would only be known once it is made: a place the server does not look at.
        body = {"name": name, "source": "s3://bucket/model", "description": f"version {version}"}
        tag = {"key": "stage", "value": f"try {version}"}
        found.append(("model-versions/create", body | {"tags": [tag]}))
    found.append(("registered-models/alias", {"name": name, "alias": "champion", "version": "1"}))
    return [(path, json.dumps(body).encode()) for path, body in found]


def main(action: str, host: str, port: str, shape_file: str) -> None:
    """Read or write the models and print the seconds as JSON."""
    wire = Wire(host, int(port))
    shape = Shape(**json.loads(Path(shape_file).read_text(encoding="utf-8")))
    seconds = limit.timed(lambda: read_all(wire)) if action == "export" else write_all(wire, shape)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
