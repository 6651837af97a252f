"""Names of experiments that are paths in a workspace and others elsewhere."""

import contextlib

import requests

from tests.conftest import Tool
from tests.databricks.state import ADMIN, Account, Workspace
from tests.databricks.test_place import places
from tests.databricks.test_place_faults import experiments
from tests.rest import Api
from tests.servers import Server

HOME = f"/Users/{ADMIN}"
TO_A = "databricks://a"


def make(server: Server, *names: str) -> dict[str, str]:
    """Experiments with a run each; their ids by name."""
    found = {}
    with contextlib.closing(Api(server.url)) as api:
        for name in names:
            found[name] = api.post("experiments/create", name=name)["experiment_id"]
            api.post("runs/create", experiment_id=found[name], start_time=1, run_name=f"of {name}")
    return found


def runs_of(workspace: Workspace, experiment_id: str) -> list[str]:
    """The names of an experiment's runs, by a plain request."""
    body = {"experiment_ids": [experiment_id], "max_results": 100}
    url = f"{workspace.url}/api/2.0/mlflow/runs/search"
    answer = requests.post(url, json=body, headers=dict(workspace.headers()), timeout=60).json()
    return sorted(run["info"]["run_name"] for run in answer.get("runs", []))


def test_two_experiments_that_would_come_to_one_path_are_never_made_one(
    empty_source: Server, account: Account, workspace: Workspace, in_catalog: Tool
) -> None:
    for number, names in enumerate([("x", f"{HOME}/x"), (f"{HOME}/y", "y")]):
        make(empty_source, *names)
        chosen = ("--experiments", ",".join(names))
        outcome = in_catalog("copy-experiments", *places(empty_source.url, TO_A)[:4], *chosen, "--json").expect(1).json
        assert [row["kind"] for row in outcome["rows"] if row["state"] == "failed"][:1] == ["experiment"]
        path = f"{HOME}/{'xy'[number]}"
        (kept,) = runs_of(workspace, experiments(workspace)[path])
        other = next(name for name in names if f"of {name}" != kept)
        renamed = ("--experiments", other, "--rename", f"experiment:{other}=/Shared/other {number}")
        in_catalog("copy-experiments", *places(empty_source.url, TO_A)[:4], *renamed).expect(0)
        assert runs_of(workspace, experiments(workspace)[f"/Shared/other {number}"]) == [f"of {other}"]
        assert runs_of(workspace, experiments(workspace)[path]) == [kept]


def test_an_experiment_renamed_to_a_path_follows_once_and_then_stays(
    empty_source: Server, account: Account, workspace: Workspace, in_catalog: Tool
) -> None:
    ids = make(empty_source, "wine")
    command = ("copy-experiments", *places(empty_source.url, TO_A), "--json")
    in_catalog(*command).expect(0)
    with contextlib.closing(Api(empty_source.url)) as api:
        api.post("experiments/update", experiment_id=ids["wine"], new_name="/Shared/wine")
    in_catalog(*command).expect(0)
    assert "/Shared/wine" in experiments(workspace)
    workspace.requests.clear()
    again = in_catalog(*command).expect(0).json["kinds"]["experiment"]
    assert again["updated"] == again["done"] == 0
    writes = [path for method, path, _ in workspace.requests if method != "GET" and not path.endswith("/search")]
    assert writes == []


def test_an_experiment_that_lies_in_another_folder_is_not_made_twice(
    empty_source: Server, account: Account, workspace: Workspace, in_catalog: Tool
) -> None:
    make(empty_source, "wine")
    command = ("copy-experiments", *places(empty_source.url, TO_A))
    in_catalog(*command, "--dst-experiment-dir", "/Shared/ml").expect(0)
    before = set(experiments(workspace))
    in_catalog(*command).expect(0)
    assert set(experiments(workspace)) == before
