"""Writes without a pause into a deployed app, and what of them is still there."""

import threading
import time

import requests

from tests.apps.living import Living
from tests.servers import Server

SLACK = 2.0
"""A snapshot takes its time, and a change that comes while it is made waits for the next one."""


class Writer:
    """Sets tags of one run without a pause, in the app and, once the app has acknowledged one, at the team's server."""

    def __init__(self, app: Living, team: Server, run: str) -> None:
        self._app, self._team, self._run = app, team, run
        self._url, self._headers = app.url, app.headers()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.acknowledged: dict[str, float] = {}

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(60)

    def _write(self) -> None:
        number = 0
        while not self._closed.is_set():
            number += 1
            key = f"drill.{number:06d}"
            body = {"run_id": self._run, "key": key, "value": "x" * 200}
            try:
                answer = requests.post(
                    f"{self._url}/api/2.0/mlflow/runs/set-tag", json=body, headers=self._headers, timeout=30
                )
            except requests.RequestException:
                answer = None
            if answer is None or not answer.ok:
                time.sleep(0.05)
                continue
            self.acknowledged[key] = time.time()
            requests.post(f"{self._team.url}/api/2.0/mlflow/runs/set-tag", json=body, timeout=30).raise_for_status()


def tags(app: Living, run: str) -> set[str]:
    """The drill's tags of a run, as the app tells them."""
    found = requests.get(
        f"{app.url}/api/2.0/mlflow/runs/get", params={"run_id": run}, headers=app.headers(), timeout=30
    )
    found.raise_for_status()
    return {tag["key"] for tag in found.json()["run"]["data"]["tags"] if tag["key"].startswith("drill.")}


def lost(writer: Writer, kept: set[str], killed: float, window: float) -> set[str]:
    """The acknowledged writes that are gone; fails the test where one is older than the window was at the kill."""
    gone = set(writer.acknowledged) - kept
    # The last one may have been written without its answer having arrived.
    assert len(kept - set(writer.acknowledged)) <= 1
    assert all(killed - writer.acknowledged[key] <= window + SLACK for key in gone), gone
    return gone
