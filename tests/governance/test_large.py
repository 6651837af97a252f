"""Ten thousand runs: an audit takes few requests, and no more memory than their findings."""

import contextlib
import sqlite3

import pytest

from tests import seeding
from tests.conftest import Run
from tests.faults.proxy import Proxy
from tests.rest import Api
from tests.servers import Server

RUNS = 10_000
COPIES = (
    (
        "CREATE TEMP TABLE one AS SELECT * FROM runs WHERE run_uuid = ?",
        "UPDATE one SET run_uuid = ?",
        "INSERT INTO runs SELECT * FROM one",
    ),
    (
        "CREATE TEMP TABLE of_params AS SELECT * FROM params WHERE run_uuid = ?",
        "UPDATE of_params SET run_uuid = ?",
        "INSERT INTO params SELECT * FROM of_params",
    ),
    (
        "CREATE TEMP TABLE of_metrics AS SELECT * FROM latest_metrics WHERE run_uuid = ?",
        "UPDATE of_metrics SET run_uuid = ?",
        "INSERT INTO latest_metrics SELECT * FROM of_metrics",
    ),
    (
        "CREATE TEMP TABLE of_tags AS SELECT * FROM tags WHERE run_uuid = ?",
        "UPDATE of_tags SET run_uuid = ?",
        "INSERT INTO tags SELECT * FROM of_tags",
    ),
)
"""Take one run's rows, give them another run's id, put them back."""


def fill(server: Server) -> None:
    """Copies of one run, by SQL; every hundredth has no params."""
    api = Api(server.url)
    experiment = api.post("experiments/create", name="churn")["experiment_id"]
    tags = seeding.pairs({"mlflow.source.git.commit": "a" * 40, "data.version": "7"})
    body = {"experiment_id": experiment, "run_name": "first", "user_id": "dora", "start_time": 1, "tags": tags}
    run = api.post("runs/create", **body)["run"]["info"]["run_id"]
    seeding.log_params(api, run, {"depth": "6"})
    seeding.log_metric(api, run, "auc", [(0, 1, 0.9)])
    api.post("runs/update", run_id=run, status="FINISHED", end_time=2)
    api.close()
    with contextlib.closing(sqlite3.connect(server.database)) as base, base:
        for take, change, put in COPIES:
            base.execute(take, (run,))
            for number in range(1, RUNS):
                if "params" in put and number % 100 == 0:
                    continue
                base.execute(change, (f"{number:032x}",))
                base.execute(put)


@pytest.mark.slow
def test_an_audit_of_ten_thousand_runs_takes_few_requests(run_here: Run, empty_source: Server) -> None:
    fill(empty_source)
    with Proxy(empty_source.url) as proxy:
        document = run_here("audit", "run", "--tracking-uri", proxy.url, "--json").expect(0).json
        assert document["looked"]["run"] == RUNS
        assert len(document["findings"]) == (RUNS - 1) // 100
        assert {each["rule"] for each in document["findings"]} == {"run-metadata"}
        assert proxy.count("POST", "runs/search") <= RUNS / 200 + 1
        assert len(proxy.seen) < RUNS / 200 + 30


@pytest.mark.slow
def test_an_inventory_of_ten_thousand_runs_without_sizes_takes_few_requests(
    run_here: Run, empty_source: Server
) -> None:
    fill(empty_source)
    with Proxy(empty_source.url) as proxy:
        document = run_here("inventory", "--no-sizes", "--tracking-uri", proxy.url, "--json").expect(0).json
        assert document["counts"]["run"]["all"] == RUNS
        assert len(proxy.seen) < RUNS / 200 + 30
