"""The hostile corpus: experiments and runs that hold everything a migration can lose.

All is made over plain REST, except artifacts whose names MLflow's own proxy cannot take: those are written into the
server's artifact folder.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import rest
from tests.rest import Api, Json
from tests.servers import Server

T0 = 1_600_000_000_000
BIGGEST = 1.7976931348623157e308
LONG_NAME = "long/" + "n" * 240
EXPERIMENT_NAMES = {
    "plain": "plain",
    "users": "/Users/anna@example.com/churn é 中文 100%?&#+",
    "glob": "a,b*c[d] 'q' \"z\"",
    "dots": "..",
    "long": LONG_NAME,
    "empty": "no runs at all",
    "deleted": "thrown away",
    "deleted empty": "thrown away, empty",
}


@dataclass(frozen=True)
class Corpus:
    """What was made: ids by label, and how much there is (Default and its runs included)."""

    experiments: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Number of experiments and runs."""
        return {"experiment": len(self.experiments), "run": len(self.runs)}


@dataclass(frozen=True)
class Seed:
    """A server being filled, and what it holds so far."""

    api: Api
    server: Server
    corpus: Corpus = field(default_factory=Corpus)

    def experiment(self, label: str, name: str, tags: dict[str, str] | None = None) -> str:
        """Make an experiment; returns its id."""
        made: str = self.api.post("experiments/create", name=name, tags=pairs(tags or {}))["experiment_id"]
        self.corpus.experiments[label], self.corpus.names[label] = made, name
        return made

    def run(self, label: str, experiment: str, tags: dict[str, str] | None = None, **info: Any) -> str:
        """Make a run in the experiment of that label, RUNNING and started at T0 unless told; returns its id."""
        body = {"start_time": T0, "run_name": label, "user_id": "anna", **info}
        body |= {"experiment_id": self.corpus.experiments[experiment], "tags": pairs(tags or {})}
        made: str = self.api.post("runs/create", **body)["run"]["info"]["run_id"]
        self.corpus.runs[label] = made
        return made

    def end(self, run_id: str, status: str = "FINISHED", **info: Any) -> None:
        """Set a run's status, and its end time unless told."""
        self.api.post("runs/update", run_id=run_id, status=status, **({"end_time": T0 + 60_000} | info))

    def delete(self, run_id: str) -> None:
        """Put a run into the trash."""
        self.api.post("runs/delete", run_id=run_id)

    def folder(self, run_id: str) -> Path:
        """Where the server keeps a run's artifacts."""
        info = self.api.get("runs/get", run_id=run_id)["run"]["info"]
        return artifact_folder(self.server, info["artifact_uri"])

    def file(self, run_id: str, path: str, content: bytes) -> None:
        """Put an artifact straight into the server's folder, so that any name is possible."""
        target = self.folder(run_id) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def artifact_folder(server: Server, artifact_uri: str) -> Path:
    """The folder behind an artifact URI, proxied or not."""
    if artifact_uri.startswith("mlflow-artifacts:/"):
        return server.artifacts / artifact_uri.removeprefix("mlflow-artifacts:/")
    return Path(artifact_uri.removeprefix("file://"))


def pairs(items: dict[str, str]) -> list[Json]:
    """{key: value} as REST wants tags and params."""
    return [{"key": key, "value": value} for key, value in items.items()]


def log_params(api: Api, run_id: str, params: dict[str, str]) -> None:
    """Log any number of params."""
    items = pairs(params)
    for first in range(0, len(items), 100):
        api.post("runs/log-batch", run_id=run_id, params=items[first : first + 100])


def log_metric(api: Api, run_id: str, key: str, points: Iterable[tuple[int, int, float]]) -> None:
    """Log (step, timestamp in ms, value) points; NaN travels as the text MLflow expects."""
    items = [
        {"key": key, "step": step, "timestamp": stamp, "value": "NaN" if math.isnan(value) else value}
        for step, stamp, value in points
    ]
    for first in range(0, len(items), 1000):
        api.post("runs/log-batch", run_id=run_id, metrics=items[first : first + 1000])


def log_dataset(api: Api, run_id: str, name: str, tags: dict[str, str], **columns: str) -> None:
    """Log one dataset input; `columns` override digest, source_type, source, schema and profile."""
    dataset = {"name": name, "digest": "d" * 36, "source_type": "local", "source": '{"uri": "s"}'} | columns
    api.post("runs/log-inputs", run_id=run_id, datasets=[{"tags": pairs(tags), "dataset": dataset}])


def noise(size: int, seed: str) -> bytes:
    """`size` bytes that do not compress and are the same every time."""
    return hashlib.shake_256(seed.encode()).digest(size)


def mlmodel(run_id: str) -> str:
    """An MLmodel file of MLflow 2.x, which names its run twice."""
    return (
        "artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.sklearn  # kept as it is\n"
        f"    data: 'runs:/{run_id}/model'\nmlflow_version: 2.9.2\nmodel_uuid: 0123456789abcdef0123456789abcdef\n"
        f"run_id: {run_id}\nutc_time_created: '2020-09-13 12:26:40.000000'\n"
    )


SAFE_FILE_NAMES: Sequence[str] = (
    "plain.txt", "with space.txt", " leading", "trailing ", "plus+plus.txt", "q?uery=1&b=2;c.txt", "100%.txt", "%",
    "é.txt", "中文.csv", "😀.png", "a/b/c/d/e/f/deep.txt", "a/b.txt", "..almost", "dot..dot", ".hidden", "...", "CON",
    "nul.txt", "ends.", "README", "readme", "back\\slash", "co:lon", "st*r|<x>", "'q\" z", "~tilde", "n" * 200,
    "dir é/sp ace/中文 & +/file=1.bin",
)  # fmt: skip


def seed_small(server: Server, api: Api | None = None) -> Corpus:
    """Two experiments, five runs: nested, finished, running, deleted, with a bit of everything."""
    seed = Seed(api or Api(server.url), server)
    api = seed.api
    seed.corpus.experiments["default"], seed.corpus.names["default"] = "0", "Default"
    seed.experiment("one", "one", {"team": "red", "mlflow.note.content": "first"})
    seed.experiment("two", "two/é")
    parent = seed.run("parent", "one", {"k": "v", "mlflow.note.content": "about it"})
    log_params(api, parent, {"alpha": "0.5", "empty": ""})
    log_metric(api, parent, "loss", [(step, T0 + step, 1 / (step + 1)) for step in range(50)])
    log_metric(api, parent, "acc é", [(1, T0, 0.1), (1, T0, 0.2), (2, T0, math.nan)])
    log_dataset(api, parent, "iris", {"mlflow.data.context": "training"})
    seed.file(parent, "a b/é.txt", b"hello")
    seed.file(parent, "plain.bin", noise(5000, "s"))
    seed.end(parent)
    child = seed.run("child", "one", {"mlflow.parentRunId": parent, "mlflow.rootRunId": parent})
    log_metric(api, child, "loss", [(0, T0, 0.5)])
    log_dataset(api, child, "iris", {"mlflow.data.context": "test"})
    seed.end(child, "FAILED")
    gone = seed.run("gone", "one", {"why": "mistake"})
    log_params(api, gone, {"p": "1"})
    seed.delete(gone)
    running = seed.run("running", "two")
    log_metric(api, running, "loss", [(0, T0, 3.0), (1, T0 + 1, 2.0)])
    log_params(api, running, {"beta": "2"})
    seed.run("scheduled", "two", {"mlflow.parentRunId": parent}, start_time=0)
    seed.end(seed.corpus.runs["scheduled"], "SCHEDULED", end_time=None)
    return seed.corpus


def seed_hostile(server: Server) -> Corpus:
    """Everything section 3 of the issue names, and some more; takes about ten seconds."""
    seed = Seed(Api(server.url), server)
    _experiments(seed)
    _states(seed)
    _nesting(seed)
    _params_and_tags(seed)
    _metrics(seed)
    _datasets(seed)
    _artifacts(seed)
    _trash(seed)
    seed.api.close()
    return seed.corpus


def _experiments(seed: Seed) -> None:
    seed.corpus.experiments["default"], seed.corpus.names["default"] = "0", "Default"
    seed.api.post("experiments/set-experiment-tag", experiment_id="0", key="on default", value="yes")
    tags = {
        "mlflow.note.content": "# notes\n\n*é 中文 😀*\ttab",
        "big": "x" * 20_000,
        "empty": "",
        "mlflow.experimentKind": "custom_model_development",
        "odd/key é": "v",
    }
    for label, name in EXPERIMENT_NAMES.items():
        seed.experiment(label, name, tags if label == "plain" else {"label": label})


def _states(seed: Seed) -> None:
    for status in ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"):
        run_id = seed.run(f"ended {status}", "plain", user_id=f"user {status} é@x.com")
        seed.end(run_id, status)
        run_id = seed.run(f"no end {status}", "plain", user_id="")
        seed.api.post("runs/update", run_id=run_id, status=status)
    seed.run("start zero", "plain", start_time=0)
    seed.end(seed.run("start zero, end one", "plain", start_time=0), end_time=1)  # REST does not show an end of 0
    seed.end(seed.run("ends before its start", "plain"), end_time=T0 - 5)
    seed.end(seed.run('name é 中文 😀 / \\ "q" %20 # ?', "users", user_id="中文 user"))
    seed.end(seed.run("same name", "users"))
    second = seed.run("same name again", "users", run_name="same name")
    seed.end(second)
    unnamed = seed.run("without name tag", "users")
    seed.api.post("runs/delete-tag", run_id=unnamed, key="mlflow.runName")
    renamed = seed.run("before", "users")
    seed.api.post("runs/update", run_id=renamed, run_name="after")
    seed.end(seed.run("in default", "default"))
    seed.end(seed.run("in glob", "glob"))
    seed.end(seed.run("in dots", "dots"))
    seed.end(seed.run("in long", "long"))


def _nesting(seed: Seed) -> None:
    root = parent = seed.run("depth 0", "users")
    for depth in range(1, 5):
        tags = {"mlflow.parentRunId": parent, "mlflow.rootRunId": root}
        parent = seed.run(f"depth {depth}", "users", tags, start_time=T0 + depth)
        seed.end(parent)
    early = {"mlflow.parentRunId": root, "mlflow.rootRunId": root}
    seed.end(seed.run("child before its parent", "users", early, start_time=T0 - 100_000))
    seed.end(seed.run("child in another experiment", "glob", {"mlflow.parentRunId": root}, start_time=5))
    trash = seed.run("parent in the trash", "glob")
    seed.run("child of the trash", "glob", {"mlflow.parentRunId": trash})
    seed.delete(trash)


def _params_and_tags(seed: Seed) -> None:
    run_id = seed.run("250 params", "plain")
    params = {f"p{index}": f"value {index}" for index in range(240)}
    params |= {"exactly 6000": "6" * 6000, "empty": "", "with/slash": "1", "with space": "2", "dot.dash-": "3"}
    params |= {"é": "é", "中文": "中文 😀", "lines": "a\nb\r\n\tc", "quotes": "'\"\\`$", "blanks": "  x  "}
    log_params(seed.api, run_id, params)
    seed.end(run_id)
    tags = {f"tag {index}": f"v{index}" for index in range(1990)}
    tags |= {"eight thousand": "é" * 8000, "empty": "", "../bad": "key", "中文/é": "😀", "multi": "a\nb\r\nc "}
    tags |= {"mlflow.note.content": "# described\n" + "d" * 5000, "mlflow.user": "someone else"}
    tags |= {"mlflow.source.name": "x.py", "mlflow.source.git.commit": "a" * 40, "a:b,c=d": "%20"}
    seed.end(seed.run("2000 tags", "plain", tags))
    seed.end(seed.run("nothing in it", "plain"))


def _metrics(seed: Seed) -> None:
    run_id = seed.run("metrics", "plain")
    values = (math.nan, BIGGEST, -BIGGEST, 5e-324, -5e-324, 0.30000000000000004, 0.1, -1.5, 1e-7, 1e22, 1234567.1234567)
    log_metric(seed.api, run_id, "values", [(index, T0 + index, value) for index, value in enumerate(values)])
    steps = (-(2**63), -7, 0, 1, 2**53 + 1, 2**62, 2**63 - 1)
    log_metric(seed.api, run_id, "steps", [(step, T0, 1.0) for step in steps])
    crowd = [(3, T0, 1.0), (3, T0, 2.0), (3, T0 + 1, 1.0), (3, T0, math.nan), (3, 0, 9.0)]
    log_metric(seed.api, run_id, "one step", crowd)
    for key in ("a/b/c", "with space", "d.o.t", "co:lon", "é", "中文", "k" * 250, " lead", "_", "-"):
        log_metric(seed.api, run_id, key, [(0, T0, 0.5), (1, T0 + 1, 0.25)])
    log_metric(seed.api, run_id, "only nan", [(0, T0, math.nan)])
    log_metric(seed.api, run_id, "3500 points", [(index, T0 + index, 1 / (index + 1)) for index in range(3500)])
    seed.end(run_id)
    many = seed.run("30000 points", "users")
    # Seven points share each timestamp, so that a page may end between two of them.
    log_metric(seed.api, many, "long", [(index, T0 + index // 7, index * 0.1) for index in range(30_000)])
    log_metric(seed.api, many, "short", [(0, T0, 1.0)])
    seed.end(many)
    for index in range(3):  # one key in several runs, of different length
        run_id = seed.run(f"shared key {index}", "users")
        log_metric(seed.api, run_id, "loss", [(step, T0 + step, step + index / 10) for step in range(index * 700)])
        seed.end(run_id)


def _datasets(seed: Seed) -> None:
    first, second = seed.run("dataset one", "plain"), seed.run("dataset two", "plain")
    wide = {"schema": '{"mlflow_colspec": "' + "c" * 60_000 + '"}', "profile": '{"rows": 5}'}
    log_dataset(seed.api, first, "shared", {"mlflow.data.context": "training", "é": "中文"}, **wide)
    log_dataset(seed.api, second, "shared", {"mlflow.data.context": "eval"}, **wide)
    log_dataset(seed.api, second, "shared", {}, digest="other")
    log_dataset(seed.api, second, "näme " + "n" * 400, {"t" * 250: "v" * 500}, source="s" * 3000, source_type="中文")
    other = seed.run("dataset elsewhere", "users")
    log_dataset(seed.api, other, "shared", {"mlflow.data.context": "x"}, source="another source")
    for run_id in (first, second, other):
        seed.end(run_id)


def _artifacts(seed: Seed) -> None:
    run_id = seed.run("artifacts", "users")
    for name in SAFE_FILE_NAMES:
        seed.file(run_id, f"names/{name}", f"content of {name}".encode())
    seed.file(run_id, "empty file", b"")
    seed.file(run_id, "12 MB.bin", noise(12_000_000, "large"))
    seed.file(run_id, "crlf.txt", b"a\r\nb\n\xef\xbb\xbf\xff\xfe\x00")
    seed.end(run_id)
    info = seed.api.get("runs/get", run_id=run_id)["run"]["info"]
    rest.upload(seed.api, info["artifact_uri"], "uploaded over REST/é +&=?.txt", b"by PUT")
    model = seed.run("model", "plain")
    seed.file(model, "model/MLmodel", mlmodel(model).encode())
    seed.file(model, "model/model.pkl", noise(3000, "pickle"))
    seed.file(model, "model/conda.yaml", f"# mentions {model}, and stays\n".encode())
    record = f'[{{"run_id": "{model}", "artifact_path": "model", "utc_time_created": "2020-09-13", "flavors": {{}}}}]'
    seed.api.post("runs/set-tag", run_id=model, key="mlflow.log-model.history", value=record)
    seed.end(model)


def _trash(seed: Seed) -> None:
    deleted = seed.run("deleted with content", "plain", {"t": "v"})
    log_params(seed.api, deleted, {"p": "v"})
    log_metric(seed.api, deleted, "m", [(index, T0, float(index)) for index in range(10)])
    log_dataset(seed.api, deleted, "in the trash", {"k": "v"})
    seed.file(deleted, "folder/file.txt", b"deleted, not lost")
    seed.end(deleted)
    seed.delete(deleted)
    for label in ("trashed 1", "trashed 2"):
        run_id = seed.run(label, "deleted", {"t": label})
        log_metric(seed.api, run_id, "m", [(0, T0, 1.0)])
        seed.file(run_id, "f.txt", label.encode())
        seed.end(run_id, "KILLED")
    seed.delete(seed.corpus.runs["trashed 1"])
    for label in ("deleted", "deleted empty"):
        seed.api.post("experiments/delete", experiment_id=seed.corpus.experiments[label])
