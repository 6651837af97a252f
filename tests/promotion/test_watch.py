"""`promote watch`: what comes up is promoted, by looking and by webhooks whose signature is right."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.webhooks.delivery import _generate_hmac_signature

from mlflow_migration.errors import UsageError
from mlflow_migration.promotion.webhooks import DELIVERY, MOST_BYTES, SIGNATURE, TIMESTAMP, Endpoint, Inbox, signature
from tests import servers
from tests.conftest import Run, ServerFactory, Tool
from tests.faults import start
from tests.promotion.conftest import Stage, aliases, entries
from tests.promotion.test_flow import EVERYWHERE
from tests.rest import Api
from tests.servers import Options, Snapshot

KEY = "the webhook's own"


def body_of(name: str, entity: str = "model_version_alias", action: str = "created") -> str:
    data = {"name": name, "alias": "candidate", "version": "1"}
    return json.dumps({"entity": entity, "action": action, "timestamp": "now", "data": data})


def headers_of(body: str, delivery: str = "d-1", age: int = 0, key: str = KEY) -> dict[str, str]:
    """As MLflow's own code signs it."""
    moment = str(int(time.time()) - age)
    signed = _generate_hmac_signature(key, delivery, moment, body)
    return {SIGNATURE: signed, TIMESTAMP: moment, DELIVERY: delivery}


def test_the_signature_is_the_one_mlflow_makes() -> None:
    body = body_of("churn é")
    expected = _generate_hmac_signature(KEY, "id", "123", body)
    assert signature(KEY.encode(), "id", "123", body.encode()) == expected


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({SIGNATURE: ""}, 401),
        ({SIGNATURE: "v1,AAAA"}, 401),
        ({SIGNATURE: "v1,é"}, 401),
        ({TIMESTAMP: "1"}, 401),
        ({DELIVERY: "another"}, 401),
    ],
)
def test_a_delivery_is_taken_only_with_its_own_signature(change: dict[str, str], status: int) -> None:
    inbox = Inbox(KEY)
    body = body_of("churn")
    assert inbox.take({**headers_of(body), **change}, body.encode()) == status
    assert inbox.names.qsize() == (1 if status == 200 else 0)


def test_a_delivery_with_another_body_another_key_or_of_long_ago_is_refused() -> None:
    inbox = Inbox(KEY)
    body = body_of("churn")
    assert inbox.take(headers_of(body), body_of("fraud").encode()) == 401
    assert inbox.take(headers_of(body, key="guessed"), body.encode()) == 401
    assert inbox.take(headers_of(body, age=301), body.encode()) == 401
    assert inbox.take(headers_of(body, age=-301), body.encode()) == 401
    assert inbox.names.empty()


def test_a_delivery_that_comes_twice_counts_once() -> None:
    inbox = Inbox(KEY)
    body = body_of("churn")
    for _ in range(3):
        assert inbox.take(headers_of(body), body.encode()) == 200
    assert inbox.names.qsize() == 1


@pytest.mark.parametrize(
    "body", ["nonsense", "[]", "{}", '{"entity": "model_version", "action": "created", "data": 1}']
)
def test_what_is_signed_but_no_delivery_is_refused(body: str) -> None:
    inbox = Inbox(KEY)
    assert inbox.take(headers_of(body), body.encode()) == 400
    assert inbox.names.empty()


def test_without_a_secret_nothing_listens() -> None:
    with pytest.raises(UsageError, match="no secret"):
        Inbox("")


def test_the_endpoint_answers_over_http_and_takes_no_flood() -> None:
    inbox = Inbox(KEY)
    endpoint = Endpoint(inbox, "127.0.0.1", 0)
    endpoint.start()
    try:
        url = f"http://127.0.0.1:{endpoint.port}/any"
        body = body_of("churn")
        lower = {key.lower(): value for key, value in headers_of(body).items()}
        assert requests.post(url, data=body.encode(), headers=lower, timeout=10).status_code == 200
        assert requests.post(url, data=body.encode(), timeout=10).status_code == 401
        assert requests.get(url, timeout=10).status_code == 501
        for length, status in ((str(MOST_BYTES + 1), 413), ("9" * 5000, 411), ("²", 411), ("-1", 411)):
            told: Any = {"Content-Length": length.encode("latin-1")}
            assert requests.post(url, data=b"", headers=told, timeout=10).status_code == status
        assert inbox.names.get_nowait() == "churn"
        with pytest.raises(UsageError, match="can't listen"):
            Endpoint(inbox, "127.0.0.1", endpoint.port)
    finally:
        endpoint.stop()


def point(url: str, alias: str, number: str) -> None:
    api = Api(url)
    api.post("registered-models/alias", name="churn", alias=alias, version=number)
    api.close()


def test_watching_once_promotes_what_an_alias_names_and_leaves_what_is_refused(stage: Stage, run_here: Run) -> None:
    policy = ("--policy", stage.policy(EVERYWHERE))
    words = ("promote", "watch", "churn@candidate", "--to", "test", "--once", *policy)
    missing = run_here(*words).expect(1)
    assert "no alias 'candidate'" in missing.stdout + missing.stderr
    point(stage.dev.url, "candidate", stage.trained["first"])
    assert run_here(*words, "--json").expect(0).json["models"][0]["state"] == "done"
    point(stage.dev.url, "candidate", stage.trained["worse"])
    for _ in range(2):
        assert run_here(*words, "--json").expect(0).json["models"][0]["state"] == "refused"
    assert aliases(stage.test) == {"champion": "1"}
    assert [each["outcome"] for each in entries(stage.test)] == ["done", "refused"]


@pytest.mark.slow
def test_mlflows_own_webhook_has_a_version_promoted(
    stage: Stage, make_server: ServerFactory, run_tool: Tool, template: Path
) -> None:
    allowed = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
    dev = make_server(Options(template=template, env=allowed))
    servers.reset(dev, Snapshot(stage.trained.content.database, stage.trained.content.artifacts))
    port = servers.free_port()
    policy = ("--policy", stage.policy(EVERYWHERE, addresses={"dev": dev.url}))
    tool = Tool(run_tool.home, {"MLFLOW_MIGRATION_WEBHOOK_SECRET": KEY})
    watch = ("promote", "watch", "churn@candidate", "--to", "test", "--every", "3600", "--listen", f"127.0.0.1:{port}")
    # Made before the first event: MLflow keeps for a minute that there is none.
    events = [{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}]
    api = Api(dev.url)
    api.post("webhooks", name="watch", url=f"http://127.0.0.1:{port}/", events=events, secret=KEY)
    api.close()
    running = start(tool, *watch, *policy)
    try:
        wait_for_port(port)
        point(dev.url, "candidate", stage.trained["first"])
        wait_for(stage, {"champion": "1"})
    finally:
        running.signal(signal.SIGINT)
        ended = running.end(30)
    assert ended.code == 0, str(ended)
    assert f"churn {stage.trained['first']}: done" in ended.stdout


def wait_for_port(port: int) -> None:
    """Until the tool listens; it has looked once by then, and found no alias."""
    until = time.monotonic() + 60
    while True:
        try:
            assert requests.post(f"http://127.0.0.1:{port}/", timeout=5).status_code == 401
            return
        except requests.ConnectionError:
            assert time.monotonic() < until
            time.sleep(0.2)


def wait_for(stage: Stage, wanted: dict[str, str]) -> None:
    until = time.monotonic() + 60
    while aliases(stage.test) != wanted:
        assert time.monotonic() < until, aliases(stage.test)
        time.sleep(0.3)
