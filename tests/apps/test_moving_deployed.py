"""From a team's server over a bundle into a deployed app, for each of the three backends."""

import pytest
import requests

from tests.apps import dev
from tests.apps.deploying import trial
from tests.apps.dev import Team
from tests.apps.living import ADDRESS, FAST, living, states
from tests.conftest import Tool
from tests.databricks.state import Workspace


def test_a_bundle_that_was_seeded_before_the_first_start_is_what_the_deployed_app_holds(
    team: Team, workspace: Workspace, run_tool: Tool
) -> None:
    app = living(trial(workspace), run_tool, **FAST)
    assert app.tool("app", "seed", "--input-dir", team.bundle, "--json").expect(0).json["verified"]["ok"]
    app.deploy()
    app.tool("verify", team.bundle, ADDRESS).expect(0)
    app.tool("diff", team.server.url, ADDRESS).expect(0)
    found = dev.asked(app.environment())
    assert found == dev.asked(dev.environment(team.server.url)) | {"uri": found["uri"]}
    assert found["uri"].startswith("mlflow-artifacts:/")


@pytest.mark.slow
def test_a_bundle_goes_through_the_api_of_an_app_on_lakebase_and_a_second_time_nothing_is_written(
    team: Team, workspace: Workspace, run_tool: Tool
) -> None:
    app = living(trial(workspace), run_tool, backend="lakebase")
    app.deploy()
    seeded = app.tool("app", "seed", "--input-dir", team.bundle, "--json").expect(0).json
    assert states(seeded["steps"]["import-all"]) == {"done", "updated"} and seeded["steps"]["verify"]["ok"]
    again = app.tool("app", "seed", "--input-dir", team.bundle, "--json").expect(0).json
    assert states(again["steps"]["import-all"]) == {"same"}
    here, there = dev.asked(dev.environment(team.server.url)), dev.asked(app.environment())
    own = {"uri": "", "made": "", "runs": len(team.made.runs) + 1}  # a server gives its own ids
    assert len(there["runs"]) == own["runs"]
    assert {**there, **own} == {**here, **own}


@pytest.mark.slow
def test_a_bundle_goes_into_the_workspace_that_an_app_shows_and_what_can_not_is_told(
    team: Team, workspace: Workspace, run_tool: Tool
) -> None:
    app = living(trial(workspace), run_tool, backend="databricks", volume=None, experiment_prefix="/Shared")
    app.deploy()
    words = ("app", "seed", "--input-dir", team.bundle, "--prefix", "main.ml.", "--json")
    seeded = app.tool(*words).expect(1).json["steps"]
    lost = sorted(f"{row['kind']} {row['name']}" for row in seeded["import-all"]["rows"])
    assert lost == [
        "evaluation_dataset questions",
        "tag model_version churn/1 stage",
        "tag model_version churn/2 stage",
    ]
    # The spans are elsewhere there: what a client reads of them is below.
    differs = {"stage", "artifacts.traces.json", ""}
    assert {each["field"] for each in seeded["verify"]["differences"]} == differs
    assert states(app.tool(*words).expect(1).json["steps"]["import-all"]) == {"same", "unsupported"}
    here = dev.asked(dev.environment(team.server.url))
    login = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    there = dev.asked(
        dev.environment("databricks", **login, MLFLOW_REGISTRY_URI="databricks-uc"), "/Shared/churn", "main.ml.churn"
    )
    same = ("model", "losses", "files", "answers")
    assert {key: there[key] for key in same} == {key: here[key] for key in same}
    shown = requests.get(
        f"{app.url}/get-artifact",
        params={"run_id": there["made"], "path": "plots/loss.txt"},
        headers=app.headers(),
        timeout=30,
    )
    assert shown.text == "a plot, in words"
