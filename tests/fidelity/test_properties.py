"""Random experiments and runs go out and in, and come back equal, as the destination's own REST API shows them."""

import dataclasses
import posixpath
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import rest, seeding, servers
from tests.conftest import ServerPool, Tool
from tests.rest import Api, Portrait
from tests.seeding import Seed
from tests.servers import Server, Snapshot

STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")


def texts(least: int = 0, most: int = 30) -> st.SearchStrategy[str]:
    """Any text that JSON and a database can hold."""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
    return st.text(letters, min_size=least, max_size=most)


def is_allowed_key(key: str) -> bool:
    """MLflow's rule for param and metric keys, which may become file names."""
    return posixpath.normpath(key) == key and key != "." and not key.startswith(("/", ".."))


keys = st.text("ab/.-_ :éЖ中0", min_size=1, max_size=12).filter(is_allowed_key)
tag_keys = texts(1).filter(lambda key: not key.startswith("mlflow"))
stamps = st.one_of(st.just(0), st.integers(0, 2**53))
points = st.tuples(st.integers(-(2**63), 2**63 - 1), stamps, st.floats(allow_infinity=False))
# MLflow's own artifact listing goes astray on a leading space, `?` and `;`: see test_losses.
parts = st.text("ab .+&=éЖ中😀'~", min_size=1, max_size=8).filter(
    lambda name: not name.startswith(" ") and name.strip(" .") != ""
)
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)


@dataclass(frozen=True)
class Plan:
    """One run to be made. `parent` counts back among the runs made before it."""

    name: str
    user: str
    start: int
    end: int | None
    status: str
    deleted: bool
    parent: int | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, list[tuple[int, int, float]]]
    dataset: tuple[str, str] | None
    files: dict[str, bytes]


run_plans = st.builds(
    Plan,
    name=texts(1),
    user=texts(),
    start=stamps,
    end=st.none() | st.integers(1, 2**53),  # REST does not show an end of 0
    status=st.sampled_from(STATUSES),
    deleted=st.booleans(),
    parent=st.none() | st.integers(1, 3),
    tags=st.dictionaries(tag_keys, texts(), max_size=4),
    params=st.dictionaries(keys, texts(), max_size=4),
    metrics=st.dictionaries(keys, st.lists(points, min_size=1, max_size=6), max_size=3),
    dataset=st.none() | st.tuples(texts(1), texts(1)),
    files=st.dictionaries(paths, st.binary(max_size=40), max_size=3).filter(
        lambda files: not any(one.startswith(f"{other}/") for one in files for other in files)
    ),
)


@dataclass(frozen=True)
class ExperimentPlan:
    """One experiment to be made."""

    name: str
    deleted: bool
    tags: dict[str, str]
    runs: list[Plan] = field(default_factory=list)


experiment_plans = st.builds(
    ExperimentPlan,
    name=texts(1, 40).filter(lambda name: bool(name.strip())),
    deleted=st.booleans(),
    tags=st.dictionaries(keys.filter(lambda key: not key.startswith("mlflow")), texts(), max_size=3),
    runs=st.lists(run_plans, max_size=4),
)
worlds = st.lists(experiment_plans, min_size=1, max_size=3, unique_by=lambda plan: plan.name)


def build(server: Server, world: list[ExperimentPlan]) -> None:
    """Make the planned experiments and runs over REST."""
    seed = Seed(Api(server.url), server)
    made: list[str] = []
    for plan in world:
        seed.experiment(plan.name, plan.name, plan.tags)
        for run in plan.runs:
            made.append(build_run(seed, plan.name, run, made))
    for plan in world:
        if plan.deleted:
            seed.api.post("experiments/delete", experiment_id=seed.corpus.experiments[plan.name])
    seed.api.close()


def build_run(seed: Seed, experiment: str, plan: Plan, earlier: list[str]) -> str:
    """Make one planned run; returns its id."""
    tags = dict(plan.tags)
    if plan.parent and plan.parent <= len(earlier):
        tags["mlflow.parentRunId"] = earlier[-plan.parent]
    info: dict[str, Any] = {"start_time": plan.start, "user_id": plan.user, "run_name": plan.name}
    run_id = seed.run(f"{len(earlier)}", experiment, tags, **info)
    seeding.log_params(seed.api, run_id, plan.params)
    for key, history in plan.metrics.items():
        seeding.log_metric(seed.api, run_id, key, history)
    if plan.dataset:
        name, context = plan.dataset
        seeding.log_dataset(seed.api, run_id, name, {"mlflow.data.context": context})
    for path, content in plan.files.items():
        seed.file(run_id, path, content)
    seed.end(run_id, plan.status, end_time=plan.end)
    if plan.deleted:
        seed.delete(run_id)
    return run_id


def look(server: Server) -> dict[str, tuple[str, dict[str, str], dict[str, Portrait]]]:
    """All a server shows: by experiment name its lifecycle, tags and runs, those by their id or origin."""
    api = Api(server.url)
    seen = {}
    for experiment in rest.experiments(api):
        portraits: dict[str, Portrait] = {}
        for run in rest.runs(api, experiment["experiment_id"]):
            portrait = rest.portrait(api, run)
            run_id = portrait.tags.get("mlflow_migration.run_id", run["info"]["run_id"])
            assert run_id not in portraits, "the same run twice"
            portraits[run_id] = dataclasses.replace(portrait, tags=own(portrait.tags))
        tags = {tag["key"]: tag.get("value", "") for tag in experiment.get("tags", [])}
        seen[experiment["name"]] = (experiment["lifecycle_stage"], own(tags), portraits)
    api.close()
    return seen


def own(tags: dict[str, str]) -> dict[str, str]:
    """Tags without those the tool adds."""
    return {key: value for key, value in tags.items() if not key.startswith("mlflow_migration.")}


def origins(server: Server) -> dict[str, str]:
    """{id at the destination: id at the source} of all runs."""
    query = "SELECT run_uuid, value FROM tags WHERE key = 'mlflow_migration.run_id'"
    return {str(new): str(old) for new, old in servers.select(server, query)}


def parents_mapped(portrait: Portrait, ids: dict[str, str]) -> Portrait:
    """A destination's run with its parent's source id."""
    tags = {
        key: ids.get(value, value) if key == "mlflow.parentRunId" else value for key, value in portrait.tags.items()
    }
    return dataclasses.replace(portrait, tags=tags)


# The same examples each time: a run of the suite tells about a change, not about the day's luck. Shrinking a failure
# would outlast the test's time limit, since each try moves experiments between two servers.
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(world=worlds)
@pytest.mark.slow
def test_random_experiments_come_back_equal(
    world: list[ExperimentPlan], server_pool: ServerPool, template: Path
) -> None:
    source, destination = server_pool("source"), server_pool("destination")
    for server in (source, destination):
        servers.reset(server, Snapshot(template))
    build(source, world)
    with tempfile.TemporaryDirectory() as folder:
        tool, bundle = Tool(Path(folder) / "home"), Path(folder) / "bundle"
        place = ("--tracking-uri", source.url, "--experiments", "all")
        tool("export-experiments", *place, "--output-dir", bundle).expect(0)
        tool("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle).expect(0)
    expected, got, ids = look(source), look(destination), origins(destination)
    assert sorted(got) == sorted(expected)
    for name, (lifecycle, tags, runs) in expected.items():
        assert got[name][:2] == (lifecycle, tags)
        arrived = {run_id: parents_mapped(portrait, ids) for run_id, portrait in got[name][2].items()}
        assert arrived == runs
