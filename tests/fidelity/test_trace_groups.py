"""Many traces at once: with few requests, and one bad one costs only itself."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases, traces
from tests.conftest import Tool
from tests.faults.proxy import Proxy, on, slow, status
from tests.rest import Api
from tests.servers import Server

COUNT = 60
SPANS_SENT = on("POST", "v1/traces")


@pytest.fixture
def filled(empty_source: Server) -> Server:
    """A source with traces in two experiments, one of them linked to runs."""
    api = Api(empty_source.url)
    for name, begin in (("one", 1), ("two", COUNT)):
        experiment = api.post("experiments/create", name=name)["experiment_id"]
        numbers = range(begin, begin + COUNT // 2)
        spans = [traces.span(f"{number:032x}", index + 1) for number in numbers for index in range(3)]
        traces.log_spans(api, experiment, *spans)
        for number in numbers:
            traces.start(
                api, experiment, f"tr-{number:032x}", tags={"number": str(number)}, trace_metadata={"own": "é"}
            )
    runs = [api.post("runs/create", experiment_id="0", start_time=1)["run"]["info"]["run_id"] for _ in range(3)]
    for index, run_id in enumerate(runs):
        api.post("traces/link-to-run", trace_ids=[f"tr-{number + 1:032x}" for number in range(index, 3)], run_id=run_id)
    api.close()
    return empty_source


@pytest.fixture
def proxy(destination: Server) -> Iterator[Proxy]:
    """A proxy before the destination."""
    with Proxy(destination.url) as proxy:
        yield proxy


@pytest.fixture
def bundle(filled: Server, run_tool: Tool, tmp_path: Path) -> Path:
    """What was exported of the source."""
    export = ("export-experiments", "--tracking-uri", filled.url, "--experiments", "all")
    run_tool(*export, "--output-dir", tmp_path / "bundle").expect(0)
    return tmp_path / "bundle"


def load(bundle: Path, proxy: Proxy) -> tuple[str | Path, ...]:
    return ("import-experiments", "--input-dir", bundle, "--tracking-uri", proxy.url, "--json")


def targets(proxy: Proxy, method: str, ending: str) -> int:
    """Requests whose path ends so."""
    return sum(request.method == method and request.target.endswith(ending) for request in proxy.seen)


def test_traces_take_few_requests_and_are_the_same_afterwards(
    filled: Server, destination: Server, run_tool: Tool, bundle: Path, proxy: Proxy
) -> None:
    assert run_tool(*load(bundle, proxy)).expect(0).json["kinds"]["trace"]["done"] == COUNT
    assert traces.compare(filled, destination) == []
    # Groups of 25 in the order of the bundle are three, of which one is of both experiments.
    assert targets(proxy, "POST", "/v1/traces") == 4
    assert targets(proxy, "POST", "/mlflow/traces") == COUNT
    assert targets(proxy, "POST", "/link-to-run") == 3 + 2 + 1
    assert targets(proxy, "PATCH", "/tags") == 3, "the linked ones say apart that they are whole"
    before, asked = databases.dump(destination), len(proxy.seen)
    assert run_tool(*load(bundle, proxy)).expect(0).json["kinds"]["trace"]["same"] == COUNT
    assert databases.dump(destination) == before
    assert len(proxy.seen) - asked < 20


def test_where_a_group_is_refused_its_traces_go_one_by_one(
    filled: Server, destination: Server, run_tool: Tool, bundle: Path, proxy: Proxy
) -> None:
    proxy.add(status(400, "BAD_REQUEST"), SPANS_SENT)
    assert run_tool(*load(bundle, proxy)).expect(0).json["kinds"]["trace"]["done"] == COUNT
    assert 10 < targets(proxy, "POST", "/v1/traces") < 32, "one group"
    assert traces.compare(filled, destination) == []


def test_one_bad_trace_costs_one_trace(destination: Server, run_tool: Tool, bundle: Path, proxy: Proxy) -> None:
    bad = f"tr-{5:032x}"
    proxy.add(status(400, "BAD_REQUEST", "this one not"), on("POST", "^traces$", bad), times=None)
    report = run_tool(*load(bundle, proxy)).expect(1).json
    assert report["kinds"]["trace"] | {"done": COUNT - 1, "failed": 1} == report["kinds"]["trace"]
    assert [row["id"] for row in report["rows"] if row["kind"] == "trace"] == [bad]
    proxy.clear()
    again = run_tool(*load(bundle, proxy)).expect(0).json["kinds"]["trace"]
    assert (again["done"], again["same"]) == (1, COUNT - 1)


def test_a_killed_import_of_traces_is_finished_by_the_same_command(
    filled: Server, destination: Server, run_tool: Tool, bundle: Path, proxy: Proxy
) -> None:
    proxy.add(slow(0.05), times=None)
    command = [sys.executable, "-m", "mlflow_migration", *map(str, load(bundle, proxy))]
    child = subprocess.Popen(
        command, cwd=run_tool.home, env=run_tool.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert proxy.wait_for(20, "POST", "^traces$")
    child.kill()
    assert child.wait() == -signal.SIGKILL
    proxy.wait_idle()
    proxy.clear()
    report = run_tool(*load(bundle, proxy)).expect(0).json["kinds"]["trace"]
    assert report["done"] + report["same"] == COUNT
    assert report["same"] > 0
    assert traces.compare(filled, destination) == []
