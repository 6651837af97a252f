"""A model trained on one server and copied to another, with everything a lineage can hold, by plain requests."""

from dataclasses import dataclass

from tests import seeding, traces
from tests.rest import Api, Json, upload
from tests.seeding import T0, pairs
from tests.servers import Server

COMMIT = "8f14e45fceea167a5a36dedd4bea2543e1f3c0de"
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'`{{7*7}}"
SIGNATURE = 'signature:\n  inputs: \'[{"type": "double", "name": "x", "required": true}]\'\n  outputs: null\n'
PROMPT = {"mlflow.prompt.is_prompt": "true"}


@dataclass(frozen=True)
class Trained:
    """What was made at the first server; ids."""

    experiment: str
    parent: str
    run: str
    evaluation: str
    model: str
    trace: str


@dataclass(frozen=True)
class Scene:
    """A model of `dev` that was copied to `prod`."""

    dev: Server
    prod: Server
    made: Trained


def train(server: Server) -> Trained:
    """A run below a parent, with data, commit, notebook and prompt; its logged model, evaluated by another run and by a
    trace; version 1 of the model `churn`, alias champion. Names and tags are hostile."""
    api = Api(server.url)
    experiment = str(api.post("experiments/create", name="churn training")["experiment_id"])
    parent = _run(api, experiment, f"weekly {HOSTILE}", {"note": HOSTILE})
    _end(api, parent)
    linked = '[{"name": "ask", "version": "1"}]'
    run = _run(
        api,
        experiment,
        "week 3",
        {
            "mlflow.parentRunId": parent,
            "mlflow.source.git.commit": COMMIT,
            "mlflow.source.git.repoURL": "https://example.com/churn.git",
            "mlflow.databricks.notebookPath": "/Repos/churn/train",
            "mlflow.linkedPrompts": linked,
            HOSTILE[:40].replace("<", "").replace(">", "").replace("=", "").replace("/", ""): HOSTILE,
        },
    )
    seeding.log_params(api, run, {"depth": "6", "loss": HOSTILE})
    seeding.log_metric(api, run, "roc_auc", [(0, T0, 0.91)])
    seeding.log_dataset(api, run, "customers", {"mlflow.data.context": "training"}, digest="abc123")
    model = logged_model(api, experiment, run)
    evaluation = _run(api, experiment, "evaluation", {})
    api.post("runs/log-inputs", run_id=evaluation, models=[{"model_id": model}])
    point = {"key": "f1", "value": 0.8, "timestamp": T0, "step": 0, "model_id": model}
    api.post("runs/log-batch", run_id=evaluation, metrics=[{**point, "run_id": evaluation}])
    trace = "tr-" + "0" * 30 + "a1"
    metadata = {"mlflow.modelId": model, "mlflow.sourceRun": evaluation}
    traces.start(api, experiment, trace, trace_metadata=metadata)
    traces.assess(api, trace, assessment_name="good", feedback={"value": True}, source=traces.HUMAN)
    _end(api, run)
    _end(api, evaluation)
    api.post("registered-models/create", name="ask", tags=pairs(PROMPT))
    tags = pairs({**PROMPT, "mlflow.prompt.text": f"Say it: {HOSTILE}"})
    api.post("model-versions/create", name="ask", source="dummy-source", tags=tags)
    api.post("registered-models/create", name="churn")
    api.post("model-versions/create", name="churn", source=f"models:/{model}", model_id=model, run_id=run)
    api.post("registered-models/alias", name="churn", alias="champion", version="1")
    api.close()
    return Trained(experiment, parent, run, evaluation, model, trace)


def _run(api: Api, experiment: str, name: str, tags: dict[str, str]) -> str:
    body = {"experiment_id": experiment, "run_name": name, "user_id": "dora", "start_time": T0, "tags": pairs(tags)}
    return str(api.post("runs/create", **body)["run"]["info"]["run_id"])


def _end(api: Api, run: str) -> None:
    api.post("runs/update", run_id=run, status="FINISHED", end_time=T0 + 60_000)


def logged_model(api: Api, experiment: str, run: str, mlmodel: str = SIGNATURE) -> str:
    """A logged model of a run, or of none, with an MLmodel file; its id."""
    of = {"source_run_id": run} if run else {}
    made: Json = api.post("logged-models", experiment_id=experiment, name="model", **of)["model"]["info"]
    upload(api, made["artifact_uri"], "MLmodel", f"flavors: {{}}\n{mlmodel}".encode())
    body = {"model_id": made["model_id"], "status": 2}
    api.call("PATCH", f"/api/2.0/mlflow/logged-models/{made['model_id']}", json=body)
    return str(made["model_id"])


def copy_words(source: Server, destination: Server, version: str = "1") -> list[str]:
    """The command that copies a version of `churn` with its run and logged model."""
    model = ["--src-model", "churn", "--src-version", version, "--dst-model", "churn"]
    places = ["--src-registry-uri", source.url, "--dst-registry-uri", destination.url]
    # The run that evaluated it stays behind, and the model's metric with it.
    more = ["--dst-experiment-name", "churn in use", "--allow-loss", "metric"]
    return ["copy-model-version", *model, *places, *more]
