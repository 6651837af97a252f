"""Users, roles, permissions and workspaces of servers with MLflow's own basic-auth, compared in its databases."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import databases, servers
from tests.basic_auth import Guarded, guarded
from tests.conftest import Tool
from tests.servers import Server, Snapshot

V2 = "/api/2.0/mlflow/"
V3 = "/api/3.0/mlflow/"
OLD_WORD = "Pass-of-a-user-12345"
RETENTION = {"retention": "30d"}


def copy_database(source: Path, destination: Path) -> None:
    """Make one SQLite database the same as another, also while a server has it open."""
    with contextlib.closing(sqlite3.connect(source)) as left, contextlib.closing(sqlite3.connect(destination)) as right:
        left.backup(right)


@dataclass(frozen=True)
class Ends:
    """Source with users, roles and permissions; an empty destination but for what makes its ids other ones."""

    left: Guarded
    right: Guarded

    @property
    def env(self) -> dict[str, str]:
        """The credentials of both administrators."""
        return {
            "MLFLOW_MIGRATION_SRC_USERNAME": self.left.admin[0],
            "MLFLOW_MIGRATION_SRC_PASSWORD": self.left.admin[1],
            "MLFLOW_MIGRATION_DST_USERNAME": self.right.admin[0],
            "MLFLOW_MIGRATION_DST_PASSWORD": self.right.admin[1],
        }

    @property
    def places(self) -> tuple[str, ...]:
        return ("--src-mlflow-uri", self.left.server.url, "--dst-mlflow-uri", self.right.server.url)

    @property
    def copy(self) -> tuple[str, ...]:
        return ("copy-all", *self.places, "--permissions", "--json")

    @property
    def verify(self) -> tuple[str, ...]:
        return ("verify", self.left.server.url, self.right.server.url, "--permissions", "--json")


@pytest.fixture(scope="module")
def seeded(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """The two servers, and beside each what it holds before a test."""
    folder = tmp_path_factory.mktemp("users-")
    left, right = guarded(folder / "left", template), guarded(folder / "right", template)
    try:
        seed(left)
        for name in ("taken one", "taken two"):
            right.call("POST", V2 + "experiments/create", name=name)
        for end in (left, right):
            copy_database(end.accounts, end.accounts.with_name("accounts-before.db"))
            copy_database(end.server.database, end.accounts.with_name("before.db"))
        yield Ends(left, right)
    finally:
        servers.stop(left.server)
        servers.stop(right.server)


@pytest.fixture
def ends(seeded: Ends) -> Ends:
    """The two servers as they were before all tests."""
    for end in (seeded.left, seeded.right):
        servers.reset(end.server, Snapshot(end.accounts.with_name("before.db")))
        copy_database(end.accounts.with_name("accounts-before.db"), end.accounts)
    return seeded


def user(end: Guarded, name: str) -> None:
    end.call("POST", V2 + "users/create", username=name, password=OLD_WORD)


def grant(end: Guarded, name: str, thing: tuple[str, str], permission: str, room: str = "default") -> None:
    body = {"username": name, "resource_type": thing[0], "resource_id": thing[1], "permission": permission}
    end.call("POST", V3 + "users/permissions/grant", room, **body)


def role(end: Guarded, name: str, permissions: list[tuple[str, str, str]], **fields: str) -> int:
    body = {"name": name, "workspace": "default", **fields}
    made = end.call("POST", V3 + "roles/create", **body)["role"]["id"]
    for type_, pattern, permission in permissions:
        allowed = {"resource_type": type_, "resource_pattern": pattern, "permission": permission}
        end.call("POST", V3 + "roles/permissions/add", role_id=made, **allowed)
    return int(made)


def secret(end: Guarded, name: str) -> str:
    """The id of a new secret of the gateway."""
    body = {"secret_name": name, "secret_value": {"api_key": "nothing"}, "provider": "openai"}
    return str(end.call("POST", V3 + "gateway/secrets/create", **body)["secret"]["secret_id"])


def seed(end: Guarded) -> None:
    one, two, gone = (end.call("POST", V2 + "experiments/create", name=name)["experiment_id"] for name in "abc")
    end.call("POST", V2 + "registered-models/create", name="m.1")
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    end.call("POST", V2 + "registered-models/create", name="p", tags=prompt)
    for name in ("ann", "Bob é/x", "chief"):
        user(end, name)
    end.call("PATCH", V2 + "users/update-admin", username="chief", is_admin=True)
    grant(end, "ann", ("experiment", one), "EDIT")
    grant(end, "ann", ("experiment", gone), "MANAGE")
    grant(end, "ann", ("scorer", f"{two}/is%20it%2Fgood"), "READ")
    grant(end, "ann", ("run", "*"), "DENY")
    grant(end, "Bob é/x", ("registered_model", "m.1"), "MANAGE")
    grant(end, "Bob é/x", ("prompt", "p"), "USE")
    allowed = [("experiment", "*", "READ"), ("experiment", two, "EDIT"), ("workspace", "*", "USE")]
    made = role(end, "reviewers / é", allowed, description="they review")
    role(end, "nobody", [])
    for name in ("ann", "Bob é/x"):
        end.call("POST", V3 + "roles/assign", username=name, role_id=made)
    end.call("POST", V2 + "experiments/delete", experiment_id=gone)


def users_of(end: Guarded) -> set[tuple[Any, ...]]:
    return set(end.select("SELECT username, is_admin FROM users"))


def named(end: Guarded, type_: str, pattern: str) -> str:
    """A permission's pattern with the experiment's name in place of its id."""
    if type_ not in {"experiment", "scorer"} or pattern == "*":
        return pattern
    id_, slash, rest = pattern.partition("/")
    ((name,),) = servers.select(end.server, "SELECT name FROM experiments WHERE experiment_id = ?", id_)
    return f"{name}{slash}{rest}"


def roles_of(end: Guarded) -> set[tuple[Any, ...]]:
    """(role, workspace, description, what it is about, permission); a role that allows nothing has None there."""
    rows = end.select(
        "SELECT r.name, r.workspace, r.description, p.resource_type, p.resource_pattern, p.permission "
        "FROM roles r LEFT JOIN role_permissions p ON p.role_id = r.id WHERE r.name NOT LIKE '\\_\\_user%' ESCAPE '\\'"
    )
    return {(*row[:4], row[4] and named(end, row[3], row[4]), row[5]) for row in rows}


def grants_of(end: Guarded) -> set[tuple[Any, ...]]:
    """(user, role) and (user, what it is about, permission)."""
    rows = end.select(
        "SELECT u.username, r.name, p.resource_type, p.resource_pattern, p.permission FROM users u "
        "JOIN user_role_assignments a ON a.user_id = u.id JOIN roles r ON r.id = a.role_id "
        "LEFT JOIN role_permissions p ON p.role_id = r.id"
    )
    own = {(row[0], row[2], named(end, row[2], row[3]), row[4]) for row in rows if row[1].startswith("__user_")}
    return own | {(row[0], row[1]) for row in rows if not row[1].startswith("__user_")}


def assert_all_there(ends: Ends) -> None:
    assert users_of(ends.right) == users_of(ends.left)
    assert roles_of(ends.right) == roles_of(ends.left)
    assert {row for row in grants_of(ends.right) if row[0] != "boss"} == {
        row for row in grants_of(ends.left) if row[0] != "boss"
    }
    assert grants_of(ends.right) >= grants_of(ends.left)


def dump(end: Guarded) -> list[tuple[Any, ...]]:
    queries = (
        "SELECT * FROM users ORDER BY id",
        "SELECT * FROM roles ORDER BY id",
        "SELECT * FROM role_permissions ORDER BY id",
        "SELECT * FROM user_role_assignments ORDER BY id",
    )
    return [row for query in queries for row in end.select(query)]


def test_users_roles_and_permissions_are_copied_and_a_second_copy_writes_nothing(ends: Ends, run_tool: Tool) -> None:
    nothing = (dump(ends.right), databases.dump(ends.right.server))
    rehearsal = run_tool(*ends.copy, "--dry-run", env=ends.env).expect(1).json
    assert (dump(ends.right), databases.dump(ends.right.server)) == nothing
    report = run_tool(*ends.copy, env=ends.env).expect(1).json
    assert {(row["kind"], row["state"]) for row in report["rows"]} == {("secret", "unsupported")}
    assert len(report["rows"]) == 3  # the new users: each has a random password
    for kind in ("user", "role", "grant"):
        assert report["kinds"][kind]["asked"] == rehearsal["kinds"][kind]["asked"]
    assert_all_there(ends)
    denied = requests.get(ends.right.server.url + V2 + "users/current", auth=("ann", OLD_WORD), timeout=60)
    assert denied.status_code == 401
    after = (dump(ends.right), databases.dump(ends.right.server))
    again = run_tool(*ends.copy, env=ends.env).expect(0).json
    assert all(again["kinds"][kind]["same"] == again["kinds"][kind]["asked"] for kind in ("user", "role", "grant"))
    assert (dump(ends.right), databases.dump(ends.right.server)) == after
    verified = run_tool(*ends.verify, env=ends.env).expect(0).json
    assert verified["kinds"]["user"]["equal"] == 4
    assert verified["kinds"]["role"]["equal"] == 2
    grants = verified["kinds"]["grant"]
    # Whoever copies owns what the copy makes, and has two experiments of their own.
    assert (grants["equal"], grants["missing"], grants["different"], grants["extra"]) == (13, 0, 0, 2)


def test_they_are_left_where_they_are_unless_asked_for(ends: Ends, run_tool: Tool) -> None:
    before = dump(ends.right)
    plain = tuple(word for word in ends.copy if word != "--permissions")
    report = run_tool(*plain, env=ends.env).expect(0).json
    assert [(row["kind"], row["state"]) for row in report["rows"]] == [("user", "skipped")]
    assert "--permissions" in report["rows"][0]["reason"]
    assert [row for row in dump(ends.right) if row in before] == before
    assert users_of(ends.right) == {("boss", 1)}
    assert roles_of(ends.right) == set()
    chosen = run_tool(*ends.copy, "--experiments", "a", env=ends.env).expect(2).json
    assert "whole server" in chosen["error"]["message"]


@pytest.mark.slow
def test_what_changes_at_the_source_is_followed_where_this_tool_made_it(ends: Ends, run_tool: Tool) -> None:
    run_tool(*ends.copy, env=ends.env).expect(1)
    for type_, level in (("run", "READ"), ("experiment", "EDIT")):
        query = "SELECT id FROM role_permissions WHERE resource_type = ? AND resource_pattern = '*'"
        ((id_,),) = ends.left.select(query, type_)
        ends.left.call("PATCH", V3 + "roles/permissions/update", role_permission_id=id_, permission=level)
    (id_,) = ends.left.select("SELECT id FROM role_permissions WHERE resource_type = 'workspace'")[0]
    ends.left.call("DELETE", V3 + "roles/permissions/remove", role_permission_id=id_)
    ((role_id,),) = ends.left.select("SELECT id FROM roles WHERE name = 'nobody'")
    ends.left.call("PATCH", V3 + "roles/update", role_id=role_id, description="now somebody")
    more = {"resource_type": "prompt", "resource_pattern": "p", "permission": "USE"}
    ends.left.call("POST", V3 + "roles/permissions/add", role_id=role_id, **more)
    ends.left.call("POST", V3 + "roles/assign", username="ann", role_id=role_id)
    ends.left.call("PATCH", V2 + "users/update-admin", username="chief", is_admin=False)
    found = run_tool(*ends.verify, env=ends.env).expect(1).json["differences"]
    assert {("user", "permissions.administrator"), ("grant", "")} <= {(row["kind"], row["field"]) for row in found}
    report = run_tool(*ends.copy, env=ends.env).expect(0).json["kinds"]
    assert [report[kind]["updated"] for kind in ("user", "role", "grant")] == [1, 2, 1]
    assert report["grant"]["done"] == 1
    assert_all_there(ends)
    run_tool(*ends.verify, env=ends.env).expect(0)


def test_what_the_destination_had_before_is_left_and_gets_no_rights(ends: Ends, run_tool: Tool) -> None:
    user(ends.right, "chief")
    user(ends.right, "ann")
    ends.right.call("POST", V2 + "registered-models/create", name="other")
    grant(ends.right, "ann", ("run", "*"), "READ")
    role(ends.right, "reviewers / é", [("registered_model", "other", "MANAGE")])
    ids = [secret(end, name) for end, name in ((ends.right, "before"), (ends.right, "key"), (ends.left, "key"))]
    grant(ends.left, "ann", ("gateway_secret", ids[2]), "USE")
    grant(ends.left, "ann", ("gateway_endpoint", "nowhere"), "USE")
    role(ends.left, "keeper", [("gateway_secret", ids[2], "MANAGE"), ("prompt", "gone", "READ")])
    before = dump(ends.right)
    for _ in range(2):
        report = run_tool(*ends.copy, env=ends.env).expect(1).json
        rows = {(row["kind"], row["state"], row["name"]) for row in report["rows"] if "secret" not in row["kind"]}
        assert rows == {
            ("grant", "failed", "ann: USE on gateway_endpoint nowhere"),
            ("permission", "unsupported", "role keeper prompt gone"),
            ("permission", "unsupported", "user chief administrator"),
            ("role", "failed", "reviewers / é"),
            ("grant", "unsupported", "ann: DENY on run *"),
            ("grant", "failed", "ann: role reviewers / é"),
            ("grant", "failed", "Bob é/x: role reviewers / é"),
        }
        assert [row for row in dump(ends.right) if row in before] == before
        assert not [row for row in grants_of(ends.right) if row[1] == "reviewers / é"]
        assert ("ann", "gateway_secret", ids[1], "USE") in grants_of(ends.right)
        assert ("keeper", "default", None, "gateway_secret", ids[1], "MANAGE") in roles_of(ends.right)
    verified = run_tool(*ends.verify, env=ends.env).expect(1).json
    assert ("user", "!") in {(row["kind"], row["sign"]) for row in verified["differences"]}


def test_a_bundle_holds_them_without_any_password(ends: Ends, run_tool: Tool) -> None:
    bundle = run_tool.home / "bundle"
    export = ("export-all", "--tracking-uri", ends.left.server.url, "--output-dir", bundle, "--json")
    exported = run_tool(*export, "--export-permissions", env=ends.env).expect(0).json
    assert exported["kinds"]["user"]["done"] == 4
    text = b"".join(path.read_bytes() for path in bundle.rglob("*") if path.is_file())
    assert b"password" not in text
    assert b"scrypt" not in text
    import_ = ("import-all", "--tracking-uri", ends.right.server.url, "--input-dir", bundle, "--json")
    left_out = run_tool(*import_, "--dry-run", env=ends.env).expect(0).json
    assert [(row["kind"], row["state"]) for row in left_out["rows"]] == [("user", "skipped")]
    run_tool(*import_, "--import-permissions", "True", env=ends.env).expect(1)
    assert_all_there(ends)
    verify = ("verify", bundle, ends.right.server.url, "--permissions", "--json")
    assert run_tool(*verify, env=ends.env).expect(0).json["kinds"]["grant"]["equal"] == 13
    (changed,) = (path for path in bundle.rglob("user.json") if "chief" in path.read_text())
    changed.write_text(changed.read_text().replace('"chief"', '"boss"'))
    run_tool(*verify, env=ends.env).expect(4)


@pytest.mark.slow
def test_who_is_no_administrator_is_told_so_and_all_else_goes(ends: Ends, run_tool: Tool) -> None:
    plain = {"MLFLOW_MIGRATION_SRC_USERNAME": "ann", "MLFLOW_MIGRATION_SRC_PASSWORD": OLD_WORD}
    grant(ends.left, "ann", ("registered_model", "*"), "MANAGE")
    outcome = run_tool(*ends.copy, env=ends.env | plain)
    assert outcome.code in (1, 3), str(outcome)  # other kinds may be refused as well
    report = outcome.json
    (row,) = [row for row in report["rows"] if row["kind"] == "user"]
    assert row["state"] == "unsupported"
    assert "only an administrator" in row["reason"]
    assert report["kinds"]["experiment"]["done"] > 0
    assert users_of(ends.right) == {("boss", 1)}
    assert run_tool(*ends.verify, env=ends.env | plain).json["ok"] is False
    user(ends.right, "writer")
    plain = {"MLFLOW_MIGRATION_DST_USERNAME": "writer", "MLFLOW_MIGRATION_DST_PASSWORD": OLD_WORD}
    before = users_of(ends.right)
    kinds = run_tool(*ends.copy, env=ends.env | plain).expect(1).json["kinds"]
    assert kinds["user"]["failed"] == kinds["user"]["asked"] == 4
    assert users_of(ends.right) == before


@pytest.mark.slow
def test_a_server_without_users_has_none_and_takes_none(
    ends: Ends, empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    places = ("--src-mlflow-uri", empty_source.url, "--dst-mlflow-uri", destination.url)
    report = run_tool("copy-all", *places, "--permissions", "--json").expect(0).json
    assert not {"user", "role", "grant", "workspace"} & set(report["kinds"])
    places = ("--src-mlflow-uri", ends.left.server.url, "--dst-mlflow-uri", destination.url)
    waived = [word for kind in ("user", "role", "grant") for word in ("--allow-loss", kind)]
    report = run_tool("copy-all", *places, "--permissions", *waived, "--json", env=ends.env).expect(0).json
    for kind in ("user", "role", "grant"):
        assert report["kinds"][kind]["unsupported"] == report["kinds"][kind]["asked"] > 0


def workspaces_of(end: Guarded) -> set[tuple[Any, ...]]:
    columns = "SELECT name, description, default_artifact_root, trace_archival_retention FROM workspaces"
    return set(servers.select(end.server, columns))


@pytest.mark.slow
def test_workspaces_are_made_empty_and_each_is_filled_by_a_job_of_its_own(ends: Ends, run_tool: Tool) -> None:
    ends.left.call("POST", V3 + "workspaces", name="team-a", description="A é", trace_archival_config=RETENTION)
    ends.left.call("POST", V3 + "workspaces", name="team-b", default_artifact_root="s3://bucket/b")
    inside = ends.left.call("POST", V2 + "experiments/create", "team-a", name="in a")["experiment_id"]
    grant(ends.left, "ann", ("experiment", inside), "MANAGE", "team-a")
    role(ends.left, "of a", [("experiment", inside, "READ")], workspace="team-a")
    report = run_tool(*ends.copy, env=ends.env).expect(1).json
    assert report["kinds"]["workspace"]["done"] == 2
    rows = {(row["kind"], row["name"]): row["reason"] for row in report["rows"] if row["kind"] != "secret"}
    assert set(rows) == {
        ("workspace", "what the other workspaces hold"),
        ("link", "workspace team-b default_artifact_root"),
    }
    assert "team-a, team-b" in rows["workspace", "what the other workspaces hold"]
    assert workspaces_of(ends.right) == {(*row[:2], None, row[3]) for row in workspaces_of(ends.left)}
    assert ("of a", "team-a") not in {row[:2] for row in roles_of(ends.right)}
    after = databases.dump(ends.right.server)
    again = run_tool(*ends.copy, "--allow-loss", "workspace", env=ends.env).expect(0).json
    assert again["kinds"]["workspace"]["same"] == 3
    assert databases.dump(ends.right.server) == after
    run_tool(*ends.verify, env=ends.env).expect(0)
    filled = run_tool(*ends.copy, "--workspace", "team-a", env=ends.env).expect(0).json
    assert "workspace" not in filled["kinds"]
    assert_all_there(ends)
    assert ("of a", "team-a") in {row[:2] for row in roles_of(ends.right)}
    ends.left.call("PATCH", V3 + "workspaces/team-a", description="", trace_archival_config={"retention": ""})
    changed = run_tool(*ends.copy, "--allow-loss", "workspace", env=ends.env).expect(0).json
    assert changed["kinds"]["workspace"]["updated"] == 1
    assert workspaces_of(ends.right) == {(*row[:2], None, row[3]) for row in workspaces_of(ends.left)}


@pytest.mark.slow
def test_permissions_follow_what_gets_another_name(ends: Ends, run_tool: Tool) -> None:
    about_m = {"resource_type": "registered_model", "resource_pattern": "m.1", "permission": "USE"}
    ((role_id,),) = ends.left.select("SELECT id FROM roles WHERE name = 'nobody'")
    ends.left.call("POST", V3 + "roles/permissions/add", role_id=role_id, **about_m)
    ends.right.call("POST", V2 + "registered-models/create", name="m.1")
    names = ("--rename", "experiment:a=A", "--rename", "model:m.1=n.1", "--rename", "prompt:p=q")
    run_tool(*ends.copy, *names, "--allow-loss", "secret", env=ends.env).expect(0)
    new = {"a": "A", "m.1": "n.1", "p": "q"}
    expected = {tuple(new.get(part, part) for part in row) for row in grants_of(ends.left)}
    assert grants_of(ends.right) >= expected
    assert roles_of(ends.right) == {tuple(new.get(part, part) for part in row) for row in roles_of(ends.left)}
    verified = run_tool(*ends.verify, *names, env=ends.env).expect(0).json["kinds"]
    assert (verified["grant"]["missing"], verified["grant"]["different"]) == (0, 0)
    assert verified["role"]["equal"] == 2
