"""Three servers as dev, test and prod; dev holds ten weeks of a churn model, trained once for all tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_migration.server.address import Credentials
from mlflow_migration.server.live import Server as Live
from mlflow_migration.server.rest import Rest
from tests import servers
from tests.conftest import ServerPool, once
from tests.promotion.churn import Week, training
from tests.rest import Api, Json
from tests.servers import Server, Snapshot

WEEKS = {
    "first": Week(1, metrics={"roc_auc": 0.80, "recall_north": 0.80, "recall_south": 0.80}),
    "better": Week(2, metrics={"roc_auc": 0.84, "recall_north": 0.82, "recall_south": 0.81}),
    "worse": Week(3, metrics={"roc_auc": 0.70, "recall_north": 0.79, "recall_south": 0.78}),
    "hurts the south": Week(4, metrics={"roc_auc": 0.90, "recall_north": 0.95, "recall_south": 0.55}),
    "best": Week(5, metrics={"roc_auc": 0.91, "recall_north": 0.88, "recall_south": 0.86}),
    "bare": Week(6, signature=False, example=False, data=False, tags={}, metrics={"roc_auc": float("nan")}),
    "failed": Week(7, finish=False, tags={"owner": "team-churn", "risk": "high"}),
    "wide": Week(8, extra_column=True),
    "late": Week(9, metrics={"roc_auc": 0.92, "recall_north": 0.89, "recall_south": 0.87}),
    "last": Week(10, metrics={"roc_auc": 0.93, "recall_north": 0.90, "recall_south": 0.88}),
}


@dataclass(frozen=True)
class Trained:
    """Dev as it is after ten weeks: versions by the week's word."""

    content: Snapshot
    made: dict[str, Json]

    def __getitem__(self, word: str) -> str:
        return str(self.made[word]["version"])


@pytest.fixture(scope="session")
def trained(shared_folder: Path, template: Path, server_pool: ServerPool) -> Trained:
    """Ten weeks of training."""
    server = server_pool("source")

    def make(folder: Path) -> Json:
        servers.reset(server, Snapshot(template))
        with training(server.url) as trainer:
            made = {word: trainer.train(week) for word, week in WEEKS.items()}
        servers.photograph(server, folder)
        return made

    made = once(shared_folder, "ten weeks", make)
    folder = shared_folder / "ten weeks"
    return Trained(Snapshot(folder / "mlflow.db", folder / "artifacts"), made)


@dataclass(frozen=True)
class Stage:
    """The three servers, and the policy that names them."""

    dev: Server
    test: Server
    prod: Server
    folder: Path
    trained: Trained

    def policy(self, *rules: Json, **more: Any) -> Path:
        """Write a policy with these rules; `more` replaces keys of it, `addresses` some servers' addresses."""
        addresses = more.pop("addresses", {})
        own = more.pop("environments", {})
        environments = {
            name: {"server": addresses.get(name, getattr(self, name).url), **own.get(name, {})}
            for name in ("dev", "test", "prod")
        }
        found = {"version": 1, "environments": environments, "path": ["dev", "test", "prod"], "lease_seconds": 2}
        path = self.folder / "promotion.yml"
        path.write_text(yaml.safe_dump({**found, "rules": list(rules), **more}), encoding="utf-8")
        return path


@pytest.fixture
def stage(trained: Trained, template: Path, server_pool: ServerPool, tmp_path: Path) -> Stage:
    """Ten versions at dev, nothing at test and prod."""
    named = {"dev": "source", "test": "destination", "prod": "prod"}
    found = {word: server_pool(name) for word, name in named.items()}
    servers.reset(found["dev"], trained.content)
    servers.reset(found["test"], Snapshot(template))
    servers.reset(found["prod"], Snapshot(template))
    return Stage(**found, folder=tmp_path, trained=trained)


@pytest.fixture
def connect() -> Iterator[Callable[[Server], Live]]:
    """Opens servers as the tool does."""
    opened: list[Live] = []

    def open_(server: Server) -> Live:
        live = Live(Rest(server.url, Credentials(), 4, 20))
        live.connect()
        opened.append(live)
        return live

    yield open_
    for live in opened:
        live.close()


def aliases(server: Server, name: str = "churn") -> dict[str, str]:
    """Alias → version, by plain REST; empty where there is no such model."""
    api = Api(server.url)
    try:
        head = api.get("registered-models/get", name=name)["registered_model"]
    except RuntimeError as error:
        if "RESOURCE_DOES_NOT_EXIST" not in str(error):
            raise
        return {}
    finally:
        api.close()
    return {entry["alias"]: str(entry["version"]) for entry in head.get("aliases", [])}


def version(server: Server, number: str, name: str = "churn") -> Json:
    """One version by plain REST, its tags as a dict."""
    api = Api(server.url)
    head: Json = api.get("model-versions/get", name=name, version=number)["model_version"]
    api.close()
    return {**head, "tags": {tag["key"]: tag["value"] for tag in head.get("tags", [])}}


def set_tag(server: Server, number: str, key: str, value: str) -> None:
    """Set a tag of a version of churn, as a person does."""
    api = Api(server.url)
    api.post("model-versions/set-tag", name="churn", version=number, key=key, value=value)
    api.close()


def entries(server: Server, journal: str = "promotions") -> list[Json]:
    """The journal's entries by plain REST: tags as a dict with short keys, in the order of their start."""
    api = Api(server.url)
    try:
        head = api.get("experiments/get-by-name", experiment_name=journal)["experiment"]
    except RuntimeError as error:
        if "RESOURCE_DOES_NOT_EXIST" not in str(error):
            raise
        api.close()
        return []
    body = {"experiment_ids": [head["experiment_id"]], "max_results": 1000, "order_by": ["attributes.start_time ASC"]}
    runs = api.post("runs/search", **body).get("runs", [])
    api.close()
    found = []
    for run in runs:
        tags = {tag["key"].removeprefix("mlflow_migration.promotion."): tag["value"] for tag in run["data"]["tags"]}
        if "chain" in tags:
            found.append({**tags, "status": run["info"]["status"], "run_id": run["info"]["run_id"]})
    return found
