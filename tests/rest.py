"""A small reader of MLflow's REST API that shares nothing with the tool under test.

Everything it returns is plain data in a fixed order, so that two servers can be compared with `==`.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

Json = dict[str, Any]
API = "/api/2.0/mlflow/"


@dataclass(frozen=True)
class Api:
    """One server's REST API; `auth` is (user, password) for a server with basic-auth."""

    url: str
    auth: tuple[str, str] | None = None
    session: requests.Session = field(default_factory=requests.Session, repr=False, compare=False)

    def call(self, method: str, path: str, **sent: Any) -> requests.Response:
        """One request; raises RuntimeError with the server's own words when it is refused."""
        answer = self.session.request(method, self.url + path, auth=self.auth, timeout=120, **sent)
        if not answer.ok:
            words = answer.content[:500].decode("utf-8", "replace")
            raise RuntimeError(f"{method} {path}: {answer.status_code} {words}")
        return answer

    def post(self, path: str, /, **body: Any) -> Json:
        """POST a JSON body to a path below /api/2.0/mlflow/."""
        return _decode(self.call("POST", API + path, json=body))

    def get(self, path: str, /, **query: Any) -> Json:
        """GET a path below /api/2.0/mlflow/."""
        return _decode(self.call("GET", API + path, params=query))

    def close(self) -> None:
        """Give the connections back."""
        self.session.close()


def _decode(answer: requests.Response) -> Json:
    answer.encoding = "utf-8"  # requests would guess latin-1 for some content types
    data: Json = answer.json()
    return data


def _pages(api: Api, path: str, name: str, **body: Any) -> list[Json]:
    found: list[Json] = []
    token = None
    while True:
        page = api.post(path, **body, **({"page_token": token} if token else {}))
        found += page.get(name, [])
        token = page.get("next_page_token")
        if not token:
            return found


def experiments(api: Api) -> list[Json]:
    """Every experiment, deleted ones too."""
    return _pages(api, "experiments/search", "experiments", view_type="ALL", max_results=1000)


def experiment(api: Api, name: str) -> Json:
    """The experiment of that name; raises KeyError when there is none."""
    return {found["name"]: found for found in experiments(api)}[name]


def runs(api: Api, experiment_id: str) -> list[Json]:
    """Every run of an experiment, deleted ones too, as `runs/search` shows it."""
    body = {"experiment_ids": [experiment_id], "run_view_type": "ALL", "max_results": 1000}
    return _pages(api, "runs/search", "runs", **body)


def history(api: Api, run_id: str, key: str) -> list[tuple[int, int, str]]:
    """All points of one metric as sorted (step, timestamp in ms, repr of the value)."""
    points: list[tuple[int, int, str]] = []
    token: str | None = None
    while True:
        query = {"run_id": run_id, "metric_key": key, "max_results": 20000} | ({"page_token": token} if token else {})
        page = api.get("metrics/get-history", **query)
        for point in page.get("metrics", []):
            points.append((int(point.get("step", 0)), int(point.get("timestamp", 0)), repr(float(point["value"]))))
        token = page.get("next_page_token")
        if not token:
            return sorted(points)


def artifacts(api: Api, run_id: str, path: str = "") -> list[str]:
    """Paths of all files of a run, folders walked."""
    found: list[str] = []
    answer = api.get("artifacts/list", run_id=run_id, **({"path": path} if path else {}))
    for file in answer.get("files", []):
        inside = file["path"].startswith(f"{path}/") or not path  # some folder names list their parent again
        found += artifacts(api, run_id, file["path"]) if file.get("is_dir") and inside else [file["path"]]
    return sorted(found)


def download(api: Api, artifact_uri: str, path: str) -> bytes:
    """The bytes of one artifact of a run with a proxied `artifact_uri`."""
    root = artifact_uri.removeprefix("mlflow-artifacts:/")
    return api.call("GET", f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{root}/{path}')}").content


def upload(api: Api, artifact_uri: str, path: str, content: bytes) -> None:
    """Put one artifact at a run with a proxied `artifact_uri`."""
    root = artifact_uri.removeprefix("mlflow-artifacts:/")
    api.call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{root}/{path}')}", data=content)


@dataclass(frozen=True)
class Portrait:
    """All that REST shows of one run, without what a server chooses itself."""

    name: str
    user: str
    status: str
    start: int
    end: int | None
    lifecycle: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, list[tuple[int, int, str]]]
    inputs: list[Json]
    files: dict[str, bytes]


def portrait(api: Api, run: Json) -> Portrait:
    """Read one run completely: every metric history and every artifact."""
    info, data = run["info"], run.get("data", {})
    run_id = info["run_id"]
    metrics = {metric["key"]: history(api, run_id, metric["key"]) for metric in data.get("metrics", [])}
    files = {path: download(api, info["artifact_uri"], path) for path in artifacts(api, run_id)}
    return Portrait(
        name=info.get("run_name", ""),
        user=info.get("user_id", ""),
        status=info["status"],
        start=int(info.get("start_time", 0)),
        end=int(info["end_time"]) if "end_time" in info else None,
        lifecycle=info["lifecycle_stage"],
        params=_pairs(data.get("params", [])),
        tags=_pairs(data.get("tags", [])),
        metrics=metrics,
        inputs=sorted(run.get("inputs", {}).get("dataset_inputs", []), key=repr),
        files=files,
    )


def _pairs(items: list[Json]) -> dict[str, str]:
    return {item["key"]: item.get("value", "") for item in items}
