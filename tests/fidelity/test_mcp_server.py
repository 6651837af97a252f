"""MCP servers: versions, tools, states, tags, aliases and addresses arrive; what is somebody else's stays."""

from pathlib import Path
from typing import Any

from tests import databases, genai, servers, tables
from tests.conftest import Tool
from tests.genai import call
from tests.rest import Json
from tests.servers import Server

NAME = "com.example/weather"
DARK = {"src": "https://8.8.8.8/i.png", "mimeType": "image/png", "theme": "dark", "x": 1}
LIGHT = {"src": "https://8.8.8.8/v.png"}
TOOL = {"name": "get", "description": "d é", "inputSchema": {"type": "object", "a": None}, "icons": [LIGHT]}
CONTENT = {
    "description": "of the version",
    "icons": [LIGHT],
    "packages": [{"registryType": "npm", "identifier": "w", "transport": {"type": "stdio"}}],
    "_meta": {"k": [1, None, {"a": "é"}]},
    "unknown": 1,
}


def ask(server: Server, method: str, path: str = "", **body: Any) -> Json:
    return call(server, method, f"mcp-servers{path}", json=body)


def version(server: Server, number: str, name: str = NAME, **body: Any) -> None:
    ask(server, "POST", f"/{name}/versions", server_json={"name": name, "version": number, **CONTENT}, **body)


def set_status(server: Server, number: str, *states: str) -> None:
    for state in states:
        ask(server, "PATCH", f"/{NAME}/versions/{number}", status=state)


def address(server: Server, url: str, **target: str) -> str:
    return str(ask(server, "POST", f"/{NAME}/endpoints", url=url, **target)["id"])


def seed(server: Server) -> str:
    """Three servers; the id of one's first address."""
    ask(server, "POST", name=NAME, description="own words", icons=[DARK])
    ask(server, "PATCH", f"/{NAME}", display_name="Weather '\"")
    options = {"npm:w": {"hidden": True}}
    version(server, "1.0.0", status="active", source="git", tools=[TOOL], connect_options=options)
    version(server, "1.1.0-rc.1+b.5")
    version(server, "2.0.0", status="active", tools=[{"name": "other"}])
    # The later of two that differ in their build only is the newer one for MLflow.
    version(server, "3.0.0+b")
    version(server, "3.0.0+a")
    set_status(server, "2.0.0", "deprecated")
    ask(server, "POST", f"/{NAME}/tags", key="team/x", value="é & co")
    ask(server, "POST", f"/{NAME}/versions/1.1.0-rc.1+b.5/tags", key="a/b", value="")
    ask(server, "POST", f"/{NAME}/aliases", alias="prod", version="1.0.0")
    ask(server, "POST", f"/{NAME}/aliases", alias="next v", version="1.1.0-rc.1+b.5")
    first = address(server, "https://mcp.example/1?q=é", server_alias="prod")
    address(server, "https://mcp.example/2", server_version="2.0.0", transport_type="sse")
    address(server, "https://mcp.example/2", server_alias="latest")
    address(server, "https://mcp.example/2", server_alias="latest")
    version(server, "0.1.0", "com.example/bare")
    ask(server, "POST", name="com.example/empty", icons=[])
    return first


def change(server: Server, first: str) -> None:
    ask(server, "PATCH", f"/{NAME}", description=None, display_name="", icons=[LIGHT])
    set_status(server, "1.0.0", "draft")
    set_status(server, "2.0.0", "active", "draft")
    set_status(server, "1.1.0-rc.1+b.5", "active", "deprecated")
    ask(server, "PATCH", f"/{NAME}/versions/1.0.0", tools=[], connect_options={})
    version(server, "4.0.0", status="active")
    set_status(server, "4.0.0", "deprecated")
    ask(server, "POST", f"/{NAME}/aliases", alias="prod", version="4.0.0")
    ask(server, "POST", f"/{NAME}/tags", key="team/x", value="new")
    ask(server, "PATCH", f"/{NAME}/endpoints/{first}", url="https://mcp.example/moved", server_version="4.0.0")


def test_mcp_servers_are_copied_row_by_row_and_a_second_copy_adds_nothing(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    first = seed(empty_source)
    before = databases.dump(empty_source)
    copy = ("copy-all", *genai.pair(empty_source, destination), "--json")
    nothing = databases.dump(destination)
    assert run_tool(*copy, "--dry-run").expect(0).json["kinds"]["mcp_server"]["done"] == 3
    assert databases.dump(destination) == nothing
    assert run_tool(*copy).expect(0).json["kinds"]["mcp_server"]["done"] == 3
    assert tables.differences(empty_source, destination) == []
    assert databases.dump(empty_source) == before
    after = databases.dump(destination)
    assert run_tool(*copy).expect(0).json["kinds"]["mcp_server"]["same"] == 3
    assert databases.dump(destination) == after
    assert run_tool("verify", empty_source.url, destination.url, "--json").expect(0).json["kinds"]["mcp_server"] == {
        "equal": 3,
        "different": 0,
        "missing": 0,
        "extra": 0,
    }
    change(empty_source, first)
    shown = run_tool("verify", empty_source.url, destination.url, "--json").expect(1).json["differences"]
    fields = {each["field"].partition(".")[0] for each in shown}
    assert fields == {"access_endpoints", "aliases", "description", "display_name", "icons", "tags", "versions"}
    assert run_tool(*copy).expect(0).json["kinds"]["mcp_server"]["updated"] == 1
    assert tables.differences(empty_source, destination) == []
    run_tool("verify", empty_source.url, destination.url).expect(0)


def test_mcp_servers_survive_a_bundle_another_machine_and_the_way_back(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    seed(empty_source)
    bundle = tmp_path / "bundle"
    run_tool("export-all", "--tracking-uri", empty_source.url, "--output-dir", bundle).expect(0)
    into = ("import-all", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    run_tool(*into).expect(0)
    assert tables.differences(empty_source, destination) == []
    after = databases.dump(destination)
    assert Tool(tmp_path / "elsewhere")(*into).expect(0).json["kinds"]["mcp_server"]["same"] == 3
    assert databases.dump(destination) == after
    run_tool("verify", bundle, destination.url).expect(0)
    before = registry_of(empty_source)
    back = run_tool("copy-all", *genai.pair(destination, empty_source), "--json").json["kinds"]["mcp_server"]
    assert back["skipped"] == 3
    assert registry_of(empty_source) == before


def registry_of(server: Server) -> dict[str, list[Any]]:
    """Every row of the registry's tables."""
    return {table: rows for table, rows in databases.dump(server).items() if table.startswith("mcp_")}


def test_a_server_that_is_somebody_elses_or_lost_a_version_is_left_alone_and_told(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    version(empty_source, "1.0.0")
    version(empty_source, "1.0.0", "com.example/equal")
    version(destination, "2.0.0")
    version(destination, "1.0.0", "com.example/equal")
    before = registry_of(destination)
    copy = ("copy-all", *genai.pair(empty_source, destination), "--json")
    report = run_tool(*copy).expect(1).json
    (told,) = report["rows"]
    assert (told["state"], told["name"]) == ("failed", NAME)
    assert "is another one at the destination" in told["reason"]
    assert report["kinds"]["mcp_server"]["same"] == 1
    assert registry_of(destination) == before
    # A version that was deleted at the destination never comes back there.
    ask(destination, "DELETE", f"/{NAME}/versions/2.0.0")
    ask(destination, "DELETE", f"/{NAME}")
    run_tool(*copy).expect(0)
    version(empty_source, "1.1.0")
    run_tool(*copy).expect(0)
    ask(destination, "DELETE", f"/{NAME}/versions/1.1.0")
    (told,) = run_tool(*copy).expect(1).json["rows"]
    assert "was deleted at the destination" in told["reason"]


def test_what_a_killed_job_has_begun_is_completed(empty_source: Server, destination: Server, run_tool: Tool) -> None:
    seed(empty_source)
    for name in (NAME, "com.example/bare"):
        ask(destination, "POST", name=name)
    for key, value in (("source", empty_source.url), ("mcp_server", NAME)):
        ask(destination, "POST", f"/{NAME}/tags", key=f"mlflow_migration.{key}", value=value)
    run_tool("copy-all", *genai.pair(empty_source, destination)).expect(0)
    assert tables.differences(empty_source, destination) == []
    assert servers.select(destination, "SELECT count(*) FROM mcp_servers") == [(3,)]
