"""What tests of the kinds around GenAI share: calls below /api/3.0/mlflow/, and rows straight from a database."""

import contextlib
import json
import sqlite3
from typing import Any

from tests.rest import Api, Json
from tests.servers import Server

V3 = "/api/3.0/mlflow/"


def call(server: Server, method: str, path: str, **sent: Any) -> Json:
    """One request with a JSON body (`json=`) or URL parameters (`params=`)."""
    api = Api(server.url)
    with contextlib.closing(api.session):
        answer = api.call(method, V3 + path, **sent)
        found: Json = json.loads(answer.content or b"{}")
        return found


def experiment(server: Server, name: str, **body: Any) -> str:
    """A new experiment's id."""
    api = Api(server.url)
    with contextlib.closing(api.session):
        return str(api.post("experiments/create", name=name, **body)["experiment_id"])


def run(server: Server, experiment_id: str) -> str:
    """A new run's id."""
    api = Api(server.url)
    with contextlib.closing(api.session):
        body = {"experiment_id": experiment_id, "start_time": 5, "run_name": "a run", "user_id": "ann"}
        run_id = str(api.post("runs/create", **body)["run"]["info"]["run_id"])
        api.post("runs/update", run_id=run_id, status="FINISHED", end_time=9)
        return run_id


def rows(server: Server, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """What a SELECT gives, straight from the server's database."""
    with contextlib.closing(sqlite3.connect(server.database)) as base:
        return base.execute(statement, values).fetchall()


def names(server: Server) -> dict[str, str]:
    """Experiment id → name."""
    return {str(id_): name for id_, name in rows(server, "SELECT experiment_id, name FROM experiments")}


def pair(source: Server, destination: Server) -> tuple[str, ...]:
    """The options that name both ends of a copy."""
    return ("--src-mlflow-uri", source.url, "--dst-mlflow-uri", destination.url)


def experiment_id(server: Server, name: str) -> str:
    """The id of the experiment of that name."""
    return {known: id_ for id_, known in names(server).items()}[name]
