"""A churn model as a team makes one every week: trained by scikit-learn, logged to a dev server by MLflow's own client
in a process of its own, since MLflow keeps its addresses for the whole process.

Run as `python -m tests.promotion.churn`: JSON lines on stdin ask for versions, JSON lines on stdout tell what was made.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests import servers

COMMIT = "8f14e45fceea167a5a36dedd4bea2543e1f3c0de"
REGIONS = ("north", "south")
LABELS = {"owner": "team-churn", "risk": "low"}


@dataclass(frozen=True)
class Week:
    """What one week's training is like. `learns` is how many rows it sees, `noise` how much of the truth is wrong,
    `blind` the region it is bad at. `metrics` replace those that were measured."""

    number: int
    learns: int = 400
    noise: float = 0.0
    blind: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=lambda: dict(LABELS))
    user: str = "dora"
    signature: bool = True
    example: bool = True
    data: bool = True
    name: str = "churn"
    finish: bool = True
    extra_column: bool = False


class Trainer:
    """The process that trains, from `training` until its end."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def train(self, week: Week) -> dict[str, Any]:
        """Log and register one version; its version, run_id, model_id and metrics."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(vars(week)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the trainer ended"
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def training(url: str) -> Iterator[Trainer]:
    """A trainer that logs to this server."""
    env = servers.clean_environment({"MLFLOW_TRACKING_URI": url, "PYTHONWARNINGS": "ignore"})
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.promotion.churn"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        encoding="utf-8",
    )
    try:
        yield Trainer(process)
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def _data(rows: int, seed: int) -> Any:
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "tenure": random.uniform(0, 60, rows),
            "calls": random.poisson(3, rows).astype("float64"),
            "south": (random.random(rows) < 0.4).astype("float64"),
        }
    )
    weight = -0.08 * frame["tenure"] + 0.5 * frame["calls"] + frame["south"] * (0.06 * frame["tenure"] - 0.5)
    frame["churned"] = (weight + random.normal(0, 0.3, rows) > 0).astype("int64")
    return frame


def _train(week: Week) -> dict[str, Any]:
    import mlflow
    import numpy as np
    from mlflow.models import infer_signature
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import recall_score, roc_auc_score

    mlflow.set_experiment(f"{week.name} training")
    learned, held_out = _data(week.learns, week.number), _data(600, 1000)
    columns = ["tenure", "calls", "south"]
    random = np.random.default_rng(week.number)
    wrong = random.random(len(learned)) < week.noise
    truth = learned["churned"].where(~wrong, 1 - learned["churned"])
    if week.blind:
        here = learned["south"] == (1.0 if week.blind == "south" else 0.0)
        truth = truth.where(~here, 0)
    if week.extra_column:
        columns.append("contract")
        learned["contract"], held_out["contract"] = 1.0, 1.0
    model = RandomForestClassifier(n_estimators=8, max_depth=6, random_state=week.number)
    with mlflow.start_run(run_name=f"week {week.number}") as run:
        mlflow.set_tag("mlflow.user", week.user)
        mlflow.set_tag("mlflow.source.git.commit", COMMIT)
        mlflow.set_tags(week.tags)
        mlflow.log_params({"n_estimators": 8, "rows": week.learns})
        if week.data:
            mlflow.log_input(mlflow.data.from_pandas(learned, name=f"customers week {week.number}"), context="training")
        model.fit(learned[columns], truth)
        found = model.predict(held_out[columns])
        metrics = {"roc_auc": float(roc_auc_score(held_out["churned"], model.predict_proba(held_out[columns])[:, 1]))}
        for number, region in enumerate(REGIONS):
            here = held_out["south"] == float(number)
            metrics[f"recall_{region}"] = float(recall_score(held_out["churned"][here], found[here]))
        metrics["latency_ms"] = 4.0
        metrics |= week.metrics
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(learned[columns], found) if week.signature else None,
            input_example=learned[columns].head(3) if week.example else None,
            pip_requirements=["scikit-learn==1.6.1", "mlflow==3.17.2"],
        )
        mlflow.log_metrics(metrics)
        mlflow.log_text("all good", "report.txt")
        if not week.finish:
            mlflow.end_run("FAILED")
    client = mlflow.MlflowClient()
    with contextlib.suppress(mlflow.MlflowException):
        client.create_registered_model(week.name)
    version = client.create_model_version(
        week.name, logged.model_uri, run_id=run.info.run_id, model_id=logged.model_id, tags={"week": str(week.number)}
    )
    made = {"version": str(version.version), "run_id": run.info.run_id, "model_id": logged.model_id}
    return {**made, "metrics": metrics}


def _serve() -> None:
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answer:
        for line in sys.stdin:
            answer.write(json.dumps(_train(Week(**json.loads(line)))) + "\n")
            answer.flush()


if __name__ == "__main__":
    _serve()
