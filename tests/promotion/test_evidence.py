"""What evaluated a model goes along with it, and its measurements count at both ends."""

import pytest

from tests.conftest import Run
from tests.promotion.conftest import Stage, aliases, set_tag, version
from tests.rest import Api, Json, download, runs, upload

NOW = 1_790_000_000_000
GATE = {"gate": "metric", "metric": "groundedness", "evidence": "evaluation", "at_least": 0.5, "than": "champion"}


def evaluate(stage: Stage, word: str, value: float, linked: bool = True) -> str:
    """An evaluation as MLflow's own logs it: a run of another experiment that takes the logged model in."""
    api = Api(stage.dev.url)
    try:
        found = api.get("experiments/get-by-name", experiment_name="churn evaluation")["experiment"]["experiment_id"]
    except RuntimeError:
        found = api.post("experiments/create", name="churn evaluation")["experiment_id"]
    run: Json = api.post("runs/create", experiment_id=found, run_name=f"evaluate {word}", start_time=NOW)["run"]
    run_id, model_id = run["info"]["run_id"], stage.trained.made[word]["model_id"]
    metric = {"key": "groundedness", "value": value, "timestamp": NOW, "step": 0}
    if linked:
        api.post("runs/log-inputs", run_id=run_id, models=[{"model_id": model_id}])
        metric["model_id"] = model_id
    api.post("runs/log-batch", run_id=run_id, metrics=[metric])
    upload(api, run["info"]["artifact_uri"], "evaluation.json", b'{"rows": 100}')
    api.post("runs/update", run_id=run_id, status="FINISHED", end_time=NOW + 1)
    api.close()
    return str(run_id)


@pytest.mark.parametrize("linked", [True, False], ids=["linked by its metrics", "named by a tag"])
def test_the_runs_that_evaluated_a_model_go_along_and_count(stage: Stage, run_here: Run, linked: bool) -> None:
    policy = ("--policy", stage.policy({"gates": [GATE]}))
    for word, value in (("first", 0.6), ("better", 0.7), ("best", 0.65)):
        run_id = evaluate(stage, word, value, linked)
        if not linked:
            set_tag(stage.dev, stage.trained[word], "evaluation_run_id", run_id)
    run_here("promote", "run", f"churn/{stage.trained['first']}", "--to", "test", *policy).expect(0)
    run_here("promote", "run", f"churn/{stage.trained['better']}", "--to", "test", *policy).expect(0)
    ended = run_here("promote", "run", f"churn/{stage.trained['best']}", "--to", "test", *policy, "--json").expect(5)
    assert ended.json["gates"][0]["reason"] == "0.65 is not 0 better than 0.7 of champion (churn/2)"

    api = Api(stage.test.url)
    found = api.get("experiments/get-by-name", experiment_name="churn evaluation")["experiment"]
    arrived = {run["info"]["run_name"]: run for run in runs(api, found["experiment_id"])}
    assert sorted(arrived) == ["evaluate better", "evaluate first"]
    better = arrived["evaluate better"]
    assert better["data"]["metrics"][0]["value"] == 0.7
    assert download(api, better["info"]["artifact_uri"], "evaluation.json") == b'{"rows": 100}'
    api.close()
    # One environment further it still counts.
    run_here("promote", "run", "churn", "--to", "prod", *policy).expect(0)
    assert aliases(stage.prod) == {"champion": "1"}
    assert version(stage.prod, "1")["tags"]["week"] == "2"


def test_a_model_that_nothing_evaluated_has_no_such_metric(stage: Stage, run_here: Run) -> None:
    policy = ("--policy", stage.policy({"gates": [GATE]}))
    ended = run_here("promote", "plan", f"churn/{stage.trained['first']}", "--to", "test", *policy, "--json").expect(5)
    assert ended.json["gates"][0]["reason"] == "it has no metric 'groundedness' (evaluation)"
