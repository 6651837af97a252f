"""An app as a client of it finds it: one request of any kind, and a test of all that a client does."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from mlflow_migration.errors import AccessError, ForbiddenError, MigrationError, NotFoundError, ServerError, UsageError
from mlflow_migration.places import Root
from mlflow_migration.records import File, Json
from mlflow_migration.server import pages
from mlflow_migration.server.parts import ServerFiles
from mlflow_migration.server.rest import Rest

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PROBE = "mlflow-migration-app-test"
"""The experiment that a test writes to; the same each time, so that the trash holds it once."""
PATH = "probe/answer.txt"
TITLE = re.compile(rb"<title>[^<]*MLflow", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What an app answered: status, type and bytes of the body, seconds."""

    status: int
    type: str
    body: bytes
    seconds: float

    @property
    def content(self) -> object:
        """The body as JSON where it is that, else as text."""
        text = self.body.decode("utf-8", "replace")
        try:
            return json.loads(text)
        except ValueError:
            return text


@dataclass(frozen=True)
class Step:
    """One step of a test: whether it went well, how long it took, what was found or went wrong."""

    name: str
    ok: bool
    seconds: float
    told: str


@dataclass
class Trial:
    """The steps of a test as far as they were made."""

    rest: Rest
    steps: list[Step] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], str]) -> bool:
        """Make one step; whether it went well. Raises AccessError: nothing after it would."""
        begun = time.monotonic()
        try:
            told, ok = work(), True
        except (ForbiddenError, ServerError, NotFoundError) as error:
            told, ok = str(error), False
        except MigrationError as error:
            self.steps.append(Step(name, False, time.monotonic() - begun, str(error)))
            raise
        self.steps.append(Step(name, ok, time.monotonic() - begun, told))
        return ok


def call(rest: Rest, path: str, method: str, data: bytes | None) -> Answer:
    """One request with the app's OAuth token, sent once.

    `path` is the app's, or one below /api/2.0/mlflow/ where it doesn't begin with a slash. Raises UsageError for an
    address of another kind, ServerError, ForbiddenError, AccessError for an answer of 300 and more.
    """
    if "://" in path or not path.isprintable() or not path:
        raise UsageError(f"not a path of the app: {path!r}", hint="write /health, or experiments/search")
    if method not in METHODS:
        raise UsageError(f"no such method: {method}", hint=f"one of {', '.join(METHODS)}")
    whole = path if path.startswith("/") else pages.V2 + path
    headers = {} if data is None else {"Content-Type": "application/json"}
    begun = time.monotonic()
    response = rest.exchange(method, whole, data, headers)
    kind = response.headers.get("Content-Type", "")
    return Answer(response.status_code, kind, response.content, time.monotonic() - begun)


def test(rest: Rest, write: bool) -> list[Step]:
    """Ask an app what a client asks; with `write` also make an experiment and a run there, read them back, and delete
    them.

    The steps, in order; after one that fails those are left out that need it. An app that can't be reached, or refuses
    the login, ends it: that step is the last.
    """
    trial = Trial(rest)
    try:
        _read(trial)
        if write and all(each.ok for each in trial.steps):
            _write(trial)
    except AccessError:
        # The last step tells it.
        return trial.steps
    return trial.steps


def _read(trial: Trial) -> None:
    rest = trial.rest
    if not trial.step("health", lambda: _text(rest, "/health")):
        return
    trial.step("version", lambda: _text(rest, "/version"))
    trial.step("page", lambda: _page(rest))
    trial.step("experiments/search", lambda: _searched(rest))


def _text(rest: Rest, path: str) -> str:
    # Sent once: a test tells how the app is now.
    return rest.exchange("GET", path, None, {}).content.decode("utf-8", "replace").strip()


def _page(rest: Rest) -> str:
    body = rest.exchange("GET", "/", None, {"Accept": "text/html"}).content
    if not TITLE.search(body):
        raise NotFoundError("the page at / is not MLflow's", f"{len(body)} bytes")
    return f"{len(body)} bytes"


def _searched(rest: Rest) -> str:
    answer = rest.once("POST", pages.V2 + "experiments/search", {"max_results": 1})
    return "at least one" if answer.get("experiments") else "none"


def _write(trial: Trial) -> None:
    rest, made = trial.rest, _Made()
    try:
        if not trial.step("experiment is made", lambda: made.experiment(rest)):
            return
        if trial.step("run is made", lambda: made.run(rest)):
            trial.step("metric comes back", lambda: made.metric(rest))
            trial.step("artifact comes back", lambda: made.artifact(rest))
    finally:
        if made.experiment_id:
            trial.step("all is deleted", lambda: made.delete(rest))


class _Made:
    """What a test has made at an app."""

    def __init__(self) -> None:
        self.experiment_id = ""
        self._run: Json = {}

    def experiment(self, rest: Rest) -> str:
        found = pages.get_or_none(rest, pages.V2 + "experiments/get-by-name", {"experiment_name": PROBE}, "experiment")
        if found is None:
            self.experiment_id = str(
                rest.once("POST", pages.V2 + "experiments/create", {"name": PROBE})["experiment_id"]
            )
            return f"{PROBE}, id {self.experiment_id}"
        self.experiment_id = str(found["experiment_id"])
        if found.get("lifecycle_stage") == "deleted":
            rest.once("POST", pages.V2 + "experiments/restore", {"experiment_id": self.experiment_id})
        return f"{PROBE}, id {self.experiment_id}, again"

    def run(self, rest: Rest) -> str:
        body = {"experiment_id": self.experiment_id, "run_name": "test", "start_time": int(time.time() * 1000)}
        self._run = rest.once("POST", pages.V2 + "runs/create", body)["run"]["info"]
        return str(self._run["run_id"])

    def metric(self, rest: Rest) -> str:
        run_id, now = self._run["run_id"], int(time.time() * 1000)
        point = {"key": "probe", "value": 42.5, "timestamp": now, "step": 1}
        rest.once("POST", pages.V2 + "runs/log-batch", {"run_id": run_id, "metrics": [point]})
        found = rest.once("GET", pages.V2 + "runs/get", query={"run_id": run_id})["run"]["data"].get("metrics") or []
        if [(each["key"], each["value"]) for each in found] != [("probe", 42.5)]:
            raise NotFoundError("the metric that was logged isn't there", f"{found}")
        return "42.5"

    def artifact(self, rest: Rest) -> str:
        data = f"{self._run['run_id']}\n".encode() * 100
        files, root = ServerFiles(rest), Root("run", str(self._run["run_id"]), str(self._run["artifact_uri"]))

        @contextmanager
        def opened() -> Iterator[BinaryIO]:
            yield io.BytesIO(data)

        files.put_file(root, PATH, File(PATH, len(data), opened))
        with files.open_file(root, PATH) as reader:
            found = reader.read()
        if found != data:
            raise NotFoundError("the artifact that was logged came back changed", f"{len(found)} of {len(data)} bytes")
        return f"{len(data)} bytes in {root.uri.partition(':')[0]}"

    def delete(self, rest: Rest) -> str:
        if self._run:
            rest.once("POST", pages.V2 + "runs/delete", {"run_id": self._run["run_id"]})
        rest.once("POST", pages.V2 + "experiments/delete", {"experiment_id": self.experiment_id})
        return "in MLflow's trash: mlflow gc empties it"
