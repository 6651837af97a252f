"""Webhooks: all but the secret, which no MLflow gives."""

from pathlib import Path
from typing import Any

from tests import databases, genai
from tests.conftest import Tool
from tests.genai import call
from tests.servers import Server

ROUTE = "../../2.0/mlflow/webhooks"
ADDRESS = "https://8.8.8.8/hook"
CREATED = {"entity": "REGISTERED_MODEL", "action": "CREATED"}
SET = {"entity": "MODEL_VERSION_TAG", "action": "SET"}


def create(server: Server, **body: Any) -> str:
    body = {"name": "hook.1", "url": ADDRESS, "events": [CREATED], **body}
    return str(call(server, "POST", ROUTE, json=body)["webhook"]["webhook_id"])


def seed(server: Server) -> str:
    first = create(server, **{"secret": "s3cret"}, description="d '\"", status="DISABLED", events=[SET, CREATED])
    create(server, name="hook.1", url=ADDRESS + "?q=é&x")
    create(server, name="twin")
    create(server, name="twin")
    return first


def content(server: Server) -> list[Any]:
    found = []
    columns = "SELECT webhook_id, name, description, url, status FROM webhooks"
    for id_, *fields in genai.rows(server, columns):
        events = genai.rows(server, "SELECT entity, action FROM webhook_events WHERE webhook_id = ? ORDER BY 1", id_)
        found.append((fields, events))
    return sorted(found, key=repr)


def test_webhooks_are_copied_and_a_second_copy_adds_nothing(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    first = seed(empty_source)
    copy = ("copy-all", *genai.pair(empty_source, destination), "--experiments", "all", "--json")
    nothing = databases.dump(destination)
    run_tool(*copy, "--dry-run")
    assert databases.dump(destination) == nothing
    report = run_tool(*copy).expect(1).json
    assert {(row["kind"], row["state"]) for row in report["rows"]} == {("secret", "unsupported")}
    assert report["kinds"]["webhook"]["done"] == 4
    assert content(destination) == content(empty_source)
    after = databases.dump(destination)
    assert run_tool(*copy).expect(0).json["kinds"]["webhook"]["same"] == 4
    assert databases.dump(destination) == after
    verified = run_tool("verify", empty_source.url, destination.url, "--json").expect(0).json
    assert verified["kinds"]["webhook"]["equal"] == 4
    changed = {"name": "renamed", "description": "", "status": "ACTIVE", "events": [CREATED]}
    call(empty_source, "PATCH", f"{ROUTE}/{first}", json=changed)
    assert run_tool(*copy).expect(0).json["kinds"]["webhook"]["updated"] == 1
    assert content(destination) == content(empty_source)


def test_webhooks_survive_a_bundle_and_another_machine(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    seed(empty_source)
    bundle = tmp_path / "bundle"
    place = ("--tracking-uri", empty_source.url, "--experiments", "all")
    run_tool("export-all", *place, "--output-dir", bundle).expect(0)
    assert "s3cret" not in "".join(path.read_text() for path in bundle.rglob("*") if path.is_file())
    into = ("import-all", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    run_tool(*into, "--allow-loss", "secret").expect(0)
    assert content(destination) == content(empty_source)
    after = databases.dump(destination)
    assert Tool(tmp_path / "elsewhere")(*into).expect(0).json["kinds"]["webhook"]["same"] == 4
    assert databases.dump(destination) == after
    run_tool("verify", bundle, destination.url).expect(0)
    one = ("copy-all", *genai.pair(empty_source, destination), "--experiments", "Default", "--json")
    assert "webhook" not in run_tool(*one).expect(0).json["kinds"]
