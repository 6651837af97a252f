"""From a team's server over a bundle into a deployed app, for each of the three backends."""

from typing import Any

import pytest

from tests.apps import dev
from tests.apps.deploying import trial
from tests.apps.dev import Team
from tests.apps.living import ADDRESS, FAST, living
from tests.conftest import Tool
from tests.databricks.state import Workspace


def states(document: dict[str, Any]) -> set[str]:
    """How objects ended."""
    counted = [counts for counts in document["kinds"].values()]
    return {state for counts in counted for state, count in counts.items() if count} - {"asked", "bytes"}


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
    assert {**there, "uri": "", "runs": len(there["runs"])} == {**here, "uri": "", "runs": len(here["runs"])}
