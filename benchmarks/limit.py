"""The limit: only the requests that moving the corpus needs, sent by a client that does nothing else.

`python -m benchmarks.limit export|import HOST PORT SHAPE.json` in a process of its own; prints the seconds on the wire.
What it reads it throws away, and what it writes is serialised before the clock starts.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from benchmarks import corpus
from benchmarks.wire import Wire

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
EXPORT_THREADS = 8
# More than two writers only wait for each other's lock on SQLite.
IMPORT_THREADS = 2
PAGE = 100
BATCH = 1000
PARAMS_PER_BATCH = 100
# As long as a run id, so that the real one can be put in its place without serialising again.
PLACEHOLDER = b"@" * 32


@dataclass(frozen=True)
class Prepared:
    """The requests of one run, ready to send but for the ids that the server gives."""

    create: bytes
    batches: list[bytes]
    inputs: bytes
    files: list[tuple[str, bytes]]
    update: bytes


def export(wire: Wire, shape: corpus.Shape) -> None:
    """Read everything: pages of runs, one history request per 100 runs and key, each folder and each file."""
    with ThreadPoolExecutor(EXPORT_THREADS) as pool:
        token, first, pending = "", True, []
        while first or token:
            page = wire.json("POST", f"{API}/runs/search", search_body(token))
            token, first = page.get("next_page_token", ""), False
            runs = [run["info"]["run_id"] for run in page.get("runs", [])]
            for number in range(shape.metrics):
                pending.append(pool.submit(read_histories, wire, runs, f"metric_{number}"))
            pending += [pool.submit(read_artifacts, wire, run, "") for run in runs]
        for task in pending:
            task.result()


def search_body(token: str) -> bytes:
    """One page of all runs."""
    asked: dict[str, Any] = {"experiment_ids": [str(corpus.EXPERIMENT_ID)], "run_view_type": "ALL", "max_results": PAGE}
    return json.dumps(asked | ({"page_token": token} if token else {})).encode()


def read_histories(wire: Wire, runs: list[str], key: str) -> None:
    """Every point of one metric of up to 100 runs."""
    query = urlencode([("run_id", run) for run in runs] + [("metric_key", key), ("max_results", "25000")])
    wire.send("GET", f"/ajax-api/2.0/mlflow/metrics/get-history-bulk?{query}")


def read_artifacts(wire: Wire, run: str, path: str) -> None:
    """Every file of a run, folder by folder."""
    query = urlencode({"run_id": run, "path": path} if path else {"run_id": run})
    for entry in wire.json("GET", f"{API}/artifacts/list?{query}").get("files", []):
        if entry.get("is_dir"):
            read_artifacts(wire, run, entry["path"])
        else:
            wire.send("GET", f"{FILES}/{corpus.EXPERIMENT_ID}/{run}/artifacts/{quote(entry['path'])}")


def prepare(shape: corpus.Shape, experiment: str) -> list[Prepared]:
    """All requests of all runs, serialised."""
    return [prepare_run(index, shape, experiment) for index in range(shape.runs)]


def prepare_run(index: int, shape: corpus.Shape, experiment: str) -> Prepared:
    """The requests that make one run: all tags at once, full batches, its input, its files, its end."""
    run = PLACEHOLDER.decode()
    begin = corpus.START_MS + index
    tags = [{"key": key, "value": value} for key, value in corpus.tags_of(index).items()]
    create = {"experiment_id": experiment, "user_id": "bench", "start_time": begin, "tags": tags}
    inputs = {"tags": [{"key": "mlflow.data.context", "value": "training"}], "dataset": corpus.DATASET}
    content = corpus.artifact_bytes(index, shape.artifact_bytes)
    return Prepared(
        create=json.dumps(create).encode(),
        batches=[json.dumps({"run_id": run, **batch}).encode() for batch in batches(index, shape)],
        inputs=json.dumps({"run_id": run, "datasets": [inputs]}).encode(),
        files=[(quote(name), content) for name in corpus.artifact_names(shape)],
        update=json.dumps({"run_id": run, "status": "FINISHED", "end_time": begin + corpus.RUN_MS}).encode(),
    )


def batches(index: int, shape: corpus.Shape) -> Iterable[dict[str, Any]]:
    """As few `log-batch` calls as the server's limits allow."""
    params = [{"key": key, "value": value} for key, value in corpus.params_of(index, shape).items()]
    names = ("key", "value", "timestamp", "step")
    points = [dict(zip(names, point, strict=True)) for point in corpus.points_of(index, shape)]
    while params or points:
        some = params[:PARAMS_PER_BATCH]
        room = BATCH - len(some)
        yield {"params": some, "metrics": points[:room]}
        params, points = params[PARAMS_PER_BATCH:], points[room:]


def make_experiment(wire: Wire) -> str:
    """The experiment to import into; returns its id."""
    made = wire.json("POST", f"{API}/experiments/create", json.dumps({"name": corpus.EXPERIMENT}).encode())
    return str(made["experiment_id"])


def import_all(wire: Wire, experiment: str, prepared: list[Prepared]) -> None:
    """Send every prepared run; the first alone, because the runs share a dataset and its first use must not race."""
    write_run(wire, experiment, prepared[0])
    with ThreadPoolExecutor(IMPORT_THREADS) as pool:
        for _ in pool.map(lambda run: write_run(wire, experiment, run), prepared[1:]):
            pass


def write_run(wire: Wire, experiment: str, run: Prepared) -> None:
    """One run, in the order a client has to keep."""
    new = wire.json("POST", f"{API}/runs/create", run.create)["run"]["info"]["run_id"]
    for batch in run.batches:
        wire.send("POST", f"{API}/runs/log-batch", batch.replace(PLACEHOLDER, new.encode()))
    wire.send("POST", f"{API}/runs/log-inputs", run.inputs.replace(PLACEHOLDER, new.encode()))
    for name, content in run.files:
        wire.send("PUT", f"{FILES}/{experiment}/{new}/artifacts/{name}", content)
    wire.send("POST", f"{API}/runs/update", run.update.replace(PLACEHOLDER, new.encode()))


def timed(work: Callable[[], None]) -> float:
    """The seconds that `work` takes."""
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def main(action: str, host: str, port: str, shape_file: str) -> None:
    """Do one action and print its seconds as JSON."""
    shape = corpus.Shape(**json.loads(Path(shape_file).read_text(encoding="utf-8")))
    wire = Wire(host, int(port))
    if action == "export":
        seconds = timed(lambda: export(wire, shape))
    else:
        experiment = make_experiment(wire)
        prepared = prepare(shape, experiment)
        seconds = timed(lambda: import_all(wire, experiment, prepared))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
