"""Permissions of experiments and models at Databricks: what arrives, for whom, and what is told of the rest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Outcome, Tool
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Account, Workspace
from tests.servers import Server

HOME = f"/Users/{ADMIN}/"
Levels = dict[str, str]


@dataclass
class Workspaces:
    """Two workspaces of one account, asked by plain requests."""

    account: Account
    a: Workspace
    b: Workspace
    tool: Tool
    folder: Path

    def ask(self, workspace: Workspace, method: str, path: str, body: Any = None) -> Any:
        query = {"params": body} if method == "GET" else {"json": body}
        answer = requests.request(method, workspace.url + path, headers=dict(workspace.headers()), timeout=30, **query)
        assert answer.ok, answer.text
        return answer.json() if answer.content else {}

    def experiment(self, workspace: Workspace, name: str) -> str:
        """A new experiment's id."""
        made = self.ask(workspace, "POST", "/api/2.0/mlflow/experiments/create", {"name": HOME + name})
        return str(made["experiment_id"])

    def named(self, workspace: Workspace, name: str) -> str:
        """The id of an experiment by name."""
        query = {"experiment_name": HOME + name}
        found = self.ask(workspace, "GET", "/api/2.0/mlflow/experiments/get-by-name", query)
        return str(found["experiment"]["experiment_id"])

    def give(self, workspace: Workspace, experiment_id: str, **levels: Levels) -> None:
        """`user_name={"a@x": "CAN_EDIT"}` and so on."""
        rows = [{by: who, "permission_level": level} for by, named in levels.items() for who, level in named.items()]
        self.ask(workspace, "PATCH", f"/api/2.0/permissions/experiments/{experiment_id}", {"access_control_list": rows})

    def levels(self, workspace: Workspace, experiment_id: str) -> Levels:
        """The direct levels on an experiment, but for that of the admin who made it."""
        answer = self.ask(workspace, "GET", f"/api/2.0/permissions/experiments/{experiment_id}")
        found = {}
        for row in answer["access_control_list"]:
            who = row.get("user_name") or row.get("group_name") or row["service_principal_name"]
            for each in row["all_permissions"]:
                if not each["inherited"] and who != ADMIN:
                    found[who] = each["permission_level"]
        return found

    def forget(self, *names: str) -> None:
        """Somebody isn't in the account any more."""
        for name in names:
            self.account.principals.pop(name, None)
            self.account.groups.pop(name, None)
            for members in self.account.groups.values():
                members.discard(name)

    def run(self, *words: str | Path) -> Outcome:
        return self.tool(*words, "--json", env=self.account.environment())

    def copy(self, *words: str | Path) -> Outcome:
        places = ("--src-mlflow-uri", "databricks://a", "--dst-mlflow-uri", "databricks://b")
        return self.run("copy-experiments", "--experiments", "/Users/*", *places, "--permissions", *words)

    def verify(self, *words: str | Path) -> Outcome:
        return self.run(
            "verify", "databricks://a", "databricks://b", "--experiments", "/Users/*", "--permissions", *words
        )

    def csv(self, text: str) -> Path:
        path = self.folder / "principals.csv"
        path.write_text(text)
        return path


@pytest.fixture
def two(databricks_account: AccountFactory, run_tool: Tool, tmp_path: Path) -> Workspaces:
    account = databricks_account()
    return Workspaces(
        account, account.workspace("a", metastore="m1"), account.workspace("b", metastore="m2"), run_tool, tmp_path
    )


def rows_of(report: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    return [(row["state"], row["name"]) for row in report["rows"] if row["kind"] == kind]


def test_what_users_groups_and_service_principals_were_given_arrives(two: Workspaces) -> None:
    ann, robot = two.account.add_user("ann@example.com", "ml").name, two.account.add_service_principal("ci").client_id
    made = two.experiment(two.a, "churn")
    two.give(
        two.a,
        made,
        user_name={ann: "CAN_EDIT"},
        group_name={"ml": "CAN_READ"},
        service_principal_name={robot: "CAN_MANAGE"},
    )
    report = two.copy().expect(0).json
    assert two.levels(two.b, two.named(two.b, "churn")) == {ann: "CAN_EDIT", "ml": "CAN_READ", robot: "CAN_MANAGE"}
    assert (report["kinds"]["access_list"]["done"], report["kinds"]["access_list"]["asked"]) == (1, 1)


def test_a_second_copy_gives_nothing_and_verify_finds_all_of_it(two: Workspaces) -> None:
    ann = two.account.add_user("ann@example.com").name
    two.give(two.a, two.experiment(two.a, "churn"), user_name={ann: "CAN_EDIT"})
    two.copy().expect(0)
    del two.b.requests[:]
    again = two.copy().expect(0).json
    assert (again["kinds"]["access_list"]["same"], again["kinds"]["access_list"]["done"]) == (1, 0)
    assert not [path for method, path, _ in two.b.requests if method in {"PATCH", "PUT"} and "permissions" in path]
    verified = two.verify().expect(0).json
    assert verified["kinds"]["access_list"] == {"equal": 1, "different": 0, "missing": 0, "extra": 0}


def test_verify_tells_what_was_taken_away_at_the_destination(two: Workspaces) -> None:
    ann = two.account.add_user("ann@example.com").name
    two.give(two.a, two.experiment(two.a, "churn"), user_name={ann: "CAN_MANAGE"})
    two.copy().expect(0)
    two.give(two.b, two.named(two.b, "churn"), user_name={ann: "CAN_READ"})
    found = two.verify().expect(1).json["differences"]
    assert {(each["kind"], each["field"]) for each in found} == {
        ("access_list", f"permissions.{ann}.{part}")
        for part in ("APPLY_TAG", "CREATE_MODEL_VERSION", "MANAGE", "the stage Production", "the stage Staging")
    }
    two.verify("--allow-loss", "permission").expect(0)


def test_what_only_the_destination_has_stays_and_is_no_difference_to_verify_but_one_to_diff(two: Workspaces) -> None:
    ann, bob = two.account.add_user("ann@example.com").name, two.account.add_user("bob@example.com").name
    two.give(two.a, two.experiment(two.a, "churn"), user_name={ann: "CAN_READ"})
    two.copy().expect(0)
    two.give(two.b, two.named(two.b, "churn"), user_name={bob: "CAN_MANAGE"})
    two.copy().expect(0)
    assert two.levels(two.b, two.named(two.b, "churn")) == {ann: "CAN_READ", bob: "CAN_MANAGE"}
    two.verify().expect(0)
    places = ("databricks://a", "databricks://b", "--experiments", "/Users/*", "--permissions")
    two.run("diff", *places).expect(1)


def test_permissions_stay_where_they_are_unless_asked_for(two: Workspaces) -> None:
    ann = two.account.add_user("ann@example.com").name
    two.give(two.a, two.experiment(two.a, "churn"), user_name={ann: "CAN_READ"})
    places = ("--src-mlflow-uri", "databricks://a", "--dst-mlflow-uri", "databricks://b")
    report = two.run("copy-experiments", "--experiments", "/Users/*", *places).expect(0).json
    assert "access_list" not in report["kinds"]
    assert two.levels(two.b, two.named(two.b, "churn")) == {}
    assert not [path for method, path, _ in two.a.requests if "/permissions/" in path and method == "GET"]


def test_a_rehearsal_gives_nothing_and_says_what_it_would(two: Workspaces) -> None:
    ann = two.account.add_user("ann@example.com").name
    two.give(two.a, two.experiment(two.a, "churn"), user_name={ann: "CAN_READ"})
    two.experiment(two.b, "churn")
    report = two.copy("--dry-run").expect(0).json
    assert report["kinds"]["access_list"]["done"] == 1
    assert two.levels(two.b, two.named(two.b, "churn")) == {}


def test_principals_are_mapped_by_a_file_and_left_out_where_it_says_so(two: Workspaces) -> None:
    for name in ("ann@old.com", "ann@new.com", "bob@old.com"):
        two.account.add_user(name)
    old, new = (two.account.add_service_principal(name).client_id for name in ("old ci", "new ci"))
    made = two.experiment(two.a, "churn")
    two.give(two.a, made, user_name={"ann@old.com": "CAN_EDIT", "bob@old.com": "CAN_READ"})
    two.give(two.a, made, service_principal_name={old: "CAN_MANAGE"})
    people = two.csv(f"source,destination\nann@old.com, ann@new.com\nbob@old.com,\n{old},{new}\n")
    report = two.copy("--principals", people).expect(0).json
    assert two.levels(two.b, two.named(two.b, "churn")) == {"ann@new.com": "CAN_EDIT", new: "CAN_MANAGE"}
    assert [row["reason"] for row in report["rows"]] == ["left out by --principals"]
    assert rows_of(report, "permission")[0][0] == "skipped"
    two.verify("--principals", people).expect(0)
    two.verify().expect(1)


def test_a_principal_the_destination_does_not_know_is_told_and_everybody_else_gets_theirs(two: Workspaces) -> None:
    ann = two.account.add_user("ann@example.com").name
    two.account.add_user("left@example.com")
    two.account.add_group("old team", "left@example.com")
    made = two.experiment(two.a, "churn")
    two.give(
        two.a, made, user_name={ann: "CAN_READ", "left@example.com": "CAN_EDIT"}, group_name={"old team": "CAN_READ"}
    )
    bundle = two.folder / "bundle"
    exported = ("export-experiments", "--experiments", "/Users/*", "--output-dir", bundle, "--export-permissions")
    two.run(*exported, "--tracking-uri", "databricks://a").expect(0)
    two.forget("left@example.com", "old team")
    words = ("import-experiments", "--input-dir", bundle, "--tracking-uri", "databricks://b", "--import-permissions")
    report = two.run(*words).expect(1).json
    assert two.levels(two.b, two.named(two.b, "churn")) == {ann: "CAN_READ"}
    told = rows_of(report, "permission")
    assert sorted(told) == [
        ("unsupported", f"access_list experiment/{made} left@example.com"),
        ("unsupported", f"access_list experiment/{made} old team"),
    ]
    assert "--principals" in report["rows"][0]["reason"]
    two.run(*words, "--allow-loss", "permission").expect(0)


def test_only_what_was_given_on_the_experiment_itself_goes_along(two: Workspaces) -> None:
    two.experiment(two.a, "churn")
    bundle = two.folder / "bundle"
    words = ("export-experiments", "--experiments", "/Users/*", "--output-dir", bundle, "--export-permissions")
    two.run(*words, "--tracking-uri", "databricks://a").expect(0)
    heads = [path.read_text() for path in bundle.rglob("access_list.json")]
    assert len(heads) == 1
    assert "admins" not in heads[0]
    assert ADMIN in heads[0]


def test_a_level_the_destination_gave_is_not_raised_and_one_this_job_gave_is(two: Workspaces) -> None:
    ann, bob = two.account.add_user("ann@example.com").name, two.account.add_user("bob@example.com").name
    made = two.experiment(two.a, "churn")
    two.give(two.a, made, user_name={ann: "CAN_READ"})
    two.copy().expect(0)
    there = two.named(two.b, "churn")
    two.give(two.b, there, user_name={bob: "CAN_READ"})
    two.give(two.a, made, user_name={ann: "CAN_MANAGE", bob: "CAN_MANAGE"})
    report = two.copy().expect(1).json
    assert two.levels(two.b, there) == {ann: "CAN_MANAGE", bob: "CAN_READ"}
    assert rows_of(report, "permission") == [("unsupported", f"access_list experiment/{made} {bob}")]
    assert "CAN_READ there already" in report["rows"][0]["reason"]
    assert report["kinds"]["access_list"]["updated"] == 1


def test_who_may_not_manage_the_destinations_experiment_costs_only_its_list(two: Workspaces) -> None:
    ann = two.account.add_user("ann@example.com").name
    for name in ("churn", "wine"):
        two.give(two.a, two.experiment(two.a, name), user_name={ann: "CAN_READ"})
    shut = two.experiment(two.b, "wine")
    two.b.faults.add(Fault(f"/api/2.0/permissions/experiments/{shut}", status=403, times=0))
    report = two.copy().expect(1).json
    assert two.levels(two.b, two.named(two.b, "churn")) == {ann: "CAN_READ"}
    assert [row["state"] for row in report["rows"] if row["kind"] == "access_list"] == ["failed"]
    assert "doesn't allow it" in report["rows"][0]["reason"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "ann@example.com\n", "line 1 is not `source,destination`"),
        ("p.csv", "a,b\n\na,b,c\n", "line 3 is not `source,destination`"),
        ("p.csv", ",b\n", "line 1 is not `source,destination`"),
        ("p.csv", "a,b\na,c\n", "line 2: 'a' is mapped twice"),
        ("p.yaml", "- a\n", "it maps principals"),
        ("p.yaml", "a: 1\n", "'a' is not mapped to a name"),
        ("p.yaml", "a: [b\n", "not a file of principals"),
    ],
)
def test_a_wrong_file_of_principals_is_refused_before_anything_is_asked(
    two: Workspaces, name: str, text: str, message: str
) -> None:
    path = two.folder / name
    path.write_text(text)
    assert message in two.copy("--principals", path).expect(2).json["error"]["message"]
    assert not two.b.requests


def test_principals_of_two_ends_that_know_each_user_by_one_name_are_refused(
    empty_source: Server, run_tool: Tool, tmp_path: Path
) -> None:
    people = tmp_path / "principals.csv"
    people.write_text("ann,bob\n")
    words = ("--src-mlflow-uri", empty_source.url, "--permissions", "--principals", people)
    database = f"sqlite:///{tmp_path / 'm.db'}"
    for command in (("copy-all",), ("copy-experiment", "--experiment", "Default")):
        told = run_tool(*command, *words, "--dst-mlflow-uri", empty_source.url).expect(2).stderr
        assert "--principals is for Databricks" in told
    run_tool("copy-all", *words, "--dst-mlflow-uri", database).expect(2)
    assert not (tmp_path / "m.db").exists()
    bundle = tmp_path / "bundle"
    run_tool("export-all", "--tracking-uri", empty_source.url, "--output-dir", bundle).expect(0)
    ends = ("--input-dir", bundle, "--tracking-uri", empty_source.url, "--principals", people)
    assert "--principals is for Databricks" in run_tool("import-all", *ends).expect(2).stderr


def test_a_file_of_principals_may_be_yaml(two: Workspaces) -> None:
    for name in ("a@old.com", "a@new.com", "b@old.com"):
        two.account.add_user(name)
    two.give(two.a, two.experiment(two.a, "churn"), user_name={"a@old.com": "CAN_EDIT", "b@old.com": "CAN_READ"})
    path = two.folder / "people.yaml"
    path.write_text("a@old.com: a@new.com\nb@old.com:\n")
    two.copy("--principals", path).expect(0)
    assert two.levels(two.b, two.named(two.b, "churn")) == {"a@new.com": "CAN_EDIT"}


def exported(two: Workspaces) -> Path:
    """A bundle of the first workspace's experiments with what is given on them."""
    bundle = two.folder / "bundle"
    asked = ("export-experiments", "--experiments", "/Users/*", "--output-dir", bundle, "--export-permissions")
    two.run(*asked, "--tracking-uri", "databricks://a").expect(0)
    return bundle


def test_what_is_chosen_of_a_bundle_or_renamed_in_it_keeps_its_permissions(two: Workspaces) -> None:
    ann = two.account.add_user("ann@example.com").name
    for name in ("churn", "wine"):
        two.give(two.a, two.experiment(two.a, name), user_name={ann: "CAN_READ"})
    bundle, chosen, renamed = exported(two), two.folder / "chosen", two.folder / "renamed"
    two.run("filter-export", "--input-dir", bundle, "--output-dir", chosen, "--experiments", HOME + "wine").expect(0)
    names = two.folder / "names.csv"
    names.write_text(f"{HOME}wine,{HOME}beer\n")
    words: tuple[str | Path, ...] = ("--input-dir", chosen, "--output-dir", renamed, "--experiment-rename-file", names)
    two.run("rewrite-export", *words).expect(0)
    assert len(list(chosen.rglob("access_list.json"))) == 1
    into = ("import-experiments", "--input-dir", renamed, "--tracking-uri", "databricks://b", "--import-permissions")
    two.run(*into).expect(0)
    assert two.levels(two.b, two.named(two.b, "beer")) == {ann: "CAN_READ"}


def test_permissions_that_a_bundle_or_whole_workspace_leaves_behind_are_told(two: Workspaces) -> None:
    two.experiment(two.a, "churn")
    bundle = two.folder / "all"
    report = two.run("export-all", "--output-dir", bundle, "--tracking-uri", "databricks-uc://a").json
    assert [(row["kind"], row["state"], row["reason"]) for row in report["rows"] if row["kind"] == "access_list"] == [
        ("access_list", "skipped", "--export-permissions takes them")
    ]
    assert not list(bundle.rglob("access_list.json"))


def test_two_principals_of_the_source_that_are_one_at_the_destination_get_the_higher_level(two: Workspaces) -> None:
    for name in ("a@old.com", "b@old.com", "ab@new.com"):
        two.account.add_user(name)
    two.give(two.a, two.experiment(two.a, "churn"), user_name={"a@old.com": "CAN_MANAGE", "b@old.com": "CAN_READ"})
    people = two.csv("a@old.com,AB@new.com\nb@old.com,ab@new.com\n")
    two.copy("--principals", people).expect(0)
    assert two.levels(two.b, two.named(two.b, "churn")) == {"ab@new.com": "CAN_MANAGE"}
    two.verify("--principals", people).expect(0)


def test_a_list_in_a_bundle_that_says_what_cannot_be_is_refused_before_anything_is_written(two: Workspaces) -> None:
    two.experiment(two.a, "churn")
    bundle = exported(two)
    path = next(bundle.rglob("access_list.json"))
    text = path.read_text().replace('"user"', '"robot"')
    assert text != path.read_text()
    path.write_text(text)
    sums = bundle / "SHA256SUMS"
    name = path.relative_to(bundle).as_posix()
    fixed = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}" if line.endswith(name) else line
        for line in sums.read_text().splitlines()
    ]
    sums.write_text("\n".join(fixed) + "\n")
    into = ("import-experiments", "--input-dir", bundle, "--tracking-uri", "databricks://b", "--import-permissions")
    del two.b.requests[:]
    assert two.run(*into).expect(4).json["error"]["message"]
    assert not [path for method, path, _ in two.b.requests if method == "PATCH"]
