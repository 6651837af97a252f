"""Two servers with MLflow's own basic-auth and different users: every way to give credentials works, none leaks."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import databases, rest, seeding, servers
from tests.conftest import Tool
from tests.genai import V3
from tests.rest import Api
from tests.seeding import T0, Seed
from tests.servers import Options, Server, Snapshot


@dataclass(frozen=True)
class Guarded:
    """A server with basic-auth, and one user of it who is not an administrator."""

    server: Server
    user: str
    password: str

    @property
    def api(self) -> Api:
        """The server's API as that user."""
        return Api(self.server.url, (self.user, self.password))


def guarded(folder: Path, template: Path, name: str) -> Guarded:
    """Start a server whose user may read everything and make experiments of his own."""
    folder.mkdir(parents=True)
    admin = (f"admin-{name}", f"Admin-{name}-pass-12345")
    settings = folder / "auth.ini"
    # A password is checked slowly on purpose; the cache keeps these tests short.
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = {admin[0]}\nadmin_password = {admin[1]}\nauth_cache_ttl_seconds = 600\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    env = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-this-test"}
    server = servers.start(folder, Options(template=template, app_name="basic-auth", env=env))
    made = Guarded(server, f"user-{name}", f"S3cret-{name}-p@ss:w%20rd")
    api = Api(server.url, admin)
    api.post("users/create", username=made.user, password=made.password)
    api.close()
    return made


@dataclass(frozen=True)
class Ends:
    """Source and destination, both guarded; `empty` is what the destination holds before each test."""

    left: Guarded
    right: Guarded
    empty: Snapshot


@pytest.fixture(scope="module")
def both(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """The two servers, the source with one experiment of three runs."""
    folder = tmp_path_factory.mktemp("auth-")
    left, right = guarded(folder / "left", template, "left"), guarded(folder / "right", template, "right")
    try:
        api = left.api
        seed = Seed(api, left.server)
        seed.experiment("e", "with é")
        for label in ("one", "two", "three"):
            run_id = seed.run(label, "e")
            seeding.log_params(api, run_id, {"p": label})
            seeding.log_metric(api, run_id, "m", [(0, T0, 0.5)])
            rest.upload(api, api.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"], "a b.txt", b"x")
            seed.end(run_id)
        api.close()
        yield Ends(left, right, Snapshot(template))
    finally:
        servers.stop(left.server)
        servers.stop(right.server)


@pytest.fixture
def ends(both: Ends) -> Ends:
    """The two servers, the destination empty."""
    servers.reset(both.right.server, both.empty)
    return both


ONLY = {"with é": "with é"}


def copy(ends: Ends) -> tuple[str, ...]:
    """The command every test runs, in its own way to give credentials."""
    places = ("--src-mlflow-uri", ends.left.server.url, "--dst-mlflow-uri", ends.right.server.url)
    return ("copy-experiments", *places, "--experiments", "with é", "--json")


def both_by_environment(ends: Ends) -> dict[str, str]:
    """Credentials of both ends in the tool's own variables."""
    return {
        "MLFLOW_MIGRATION_SRC_USERNAME": ends.left.user,
        "MLFLOW_MIGRATION_SRC_PASSWORD": ends.left.password,
        "MLFLOW_MIGRATION_DST_USERNAME": ends.right.user,
        "MLFLOW_MIGRATION_DST_PASSWORD": ends.right.password,
    }


def leaks(ends: Ends, text: bytes) -> list[str]:
    """Which passwords are in `text`, plain or as a Basic header."""
    found = []
    for end in (ends.left, ends.right):
        pair = f"{end.user}:{end.password}"
        forms = [end.password.encode(), base64.b64encode(pair.encode()), base64.b64encode(pair.encode("latin-1"))]
        found += [end.user for form in forms if form in text]
    return found


def assert_nothing_leaked(ends: Ends, folder: Path, *texts: str) -> None:
    """No password in what was printed, nor in any file below `folder` except those that are meant to hold one."""
    for text in texts:
        assert leaks(ends, text.encode()) == []
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "credentials":
            assert leaks(ends, path.read_bytes()) == [], path


def test_two_users_by_the_tools_own_variables(ends: Ends, run_tool: Tool) -> None:
    report = run_tool.home / "report.html"
    outcome = run_tool(*copy(ends), "-vv", "--report", report, env=both_by_environment(ends)).expect(0)
    assert outcome.json["kinds"]["run"]["done"] == 3
    assert databases.compare(ends.left.server, ends.right.server, ONLY) == []
    assert report.exists()
    assert any(run_tool.home.rglob("*"))
    assert_nothing_leaked(ends, run_tool.home, outcome.stdout, outcome.stderr)


def test_two_users_by_places_in_a_config_file(ends: Ends, run_tool: Tool) -> None:
    run_tool.home.mkdir(parents=True)
    config = run_tool.home / "mlflow-migration.yml"
    config.write_text(
        "places:\n"
        f"  dev: {{uri: '{ends.left.server.url}', username: {ends.left.user}, password_env: DEV_SECRET}}\n"
        f"  prod: {{uri: '{ends.right.server.url}', username: {ends.right.user}, password_env: PROD_SECRET}}\n"
    )
    secrets = {"DEV_SECRET": ends.left.password, "PROD_SECRET": ends.right.password}
    places = ("--src-mlflow-uri", "@dev", "--dst-mlflow-uri", "@prod")
    command = ("copy-experiments", "--config", config, *places, "--experiments", "with é", "--json")
    outcome = run_tool(*command, env=secrets).expect(0)
    assert databases.compare(ends.left.server, ends.right.server, ONLY) == []
    shown = run_tool("config", "show", "--config", config, env=secrets).expect(0)
    assert "dev" in shown.stdout
    assert_nothing_leaked(ends, run_tool.home, outcome.stdout, outcome.stderr, shown.stdout, shown.stderr)


def test_one_user_at_a_time_by_mlflows_variables_and_credentials_file(ends: Ends, run_tool: Tool) -> None:
    bundle = run_tool.home / "bundle"
    left = {"MLFLOW_TRACKING_USERNAME": ends.left.user, "MLFLOW_TRACKING_PASSWORD": ends.left.password}
    place = ("--experiments", "with é", "--output-dir", bundle)
    exported = run_tool("export-experiments", *place, env=left | {"MLFLOW_TRACKING_URI": ends.left.server.url}).expect(
        0
    )
    credentials = run_tool.home / ".mlflow" / "credentials"
    credentials.parent.mkdir()
    password = ends.right.password.replace("%", "%%")  # an ini file
    credentials.write_text(
        f"[mlflow]\nmlflow_tracking_username = {ends.right.user}\nmlflow_tracking_password = {password}\n"
    )
    target = ("--tracking-uri", ends.right.server.url)
    imported = run_tool("import-experiments", *target, "--input-dir", bundle).expect(0)
    assert databases.compare(ends.left.server, ends.right.server, ONLY) == []
    texts = (exported.stdout, exported.stderr, imported.stdout, imported.stderr)
    assert_nothing_leaked(ends, run_tool.home, *texts)


@pytest.mark.parametrize("side", ["SRC", "DST"])
def test_a_wrong_password_is_one_clear_message_and_nothing_is_written(ends: Ends, run_tool: Tool, side: str) -> None:
    before = databases.dump(ends.right.server)
    env = both_by_environment(ends) | {f"MLFLOW_MIGRATION_{side}_PASSWORD": "Wr0ng-and-never-shown"}
    outcome = run_tool(*copy(ends), env=env).expect(3)
    wrong = ends.left if side == "SRC" else ends.right
    assert outcome.json["error"]["code"] == 3
    assert wrong.server.url.removeprefix("http://") in outcome.stderr
    assert outcome.stderr.count("error:") == 1
    assert "Traceback" not in outcome.stderr
    assert "Wr0ng-and-never-shown" not in outcome.stdout + outcome.stderr
    assert databases.dump(ends.right.server) == before
    assert_nothing_leaked(ends, run_tool.home, outcome.stdout, outcome.stderr)


def test_no_password_at_all_is_exit_code_3(ends: Ends, run_tool: Tool) -> None:
    outcome = run_tool(*copy(ends)).expect(3)
    assert "Traceback" not in outcome.stderr
    assert "try:" in outcome.stderr


def test_a_password_in_the_address_is_not_shown(ends: Ends, run_tool: Tool) -> None:
    bad = ends.left.server.url.replace("http://", "http://someone:Pa55-in-the-address@")
    command = ("export-experiments", "--tracking-uri", bad, "--experiments", "all", "--output-dir", "out", "--json")
    outcome = run_tool(*command)
    assert outcome.code in (2, 3)
    assert "Pa55-in-the-address" not in outcome.stdout + outcome.stderr
    for path in run_tool.home.rglob("*"):
        assert not path.is_file() or b"Pa55-in-the-address" not in path.read_bytes(), path


def test_a_user_who_may_only_read_the_destination_is_told_so(ends: Ends, run_tool: Tool) -> None:
    admin = Api(ends.right.server.url, ("admin-right", "Admin-right-pass-12345"))
    # The user of the other tests owned the experiment with id 1, and the server remembers that.
    for name in ("a", "b", "c", "with é"):
        admin.post("experiments/create", name=name)
    admin.close()
    outcome = run_tool(*copy(ends), env=both_by_environment(ends))
    assert outcome.code in (1, 3), str(outcome)
    assert outcome.json["ok"] is False
    assert "Traceback" not in outcome.stderr
    assert_nothing_leaked(ends, run_tool.home, outcome.stdout, outcome.stderr)


def test_a_credentials_file_that_cannot_be_read_is_no_traceback_and_no_leak(ends: Ends, run_tool: Tool) -> None:
    credentials = run_tool.home / ".mlflow" / "credentials"
    credentials.parent.mkdir(parents=True)
    credentials.write_text("[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = top%secret\n")
    place = ("--tracking-uri", ends.left.server.url)
    outcome = run_tool("export-experiments", *place, "--experiments", "all", "--output-dir", "out")
    assert outcome.code in (2, 3), str(outcome)
    assert "Traceback" not in outcome.stderr
    assert "secret" not in outcome.stdout + outcome.stderr


def test_an_experiment_that_may_not_be_read_is_told_and_arrives_once_it_may(
    ends: Ends, run_tool: Tool, tmp_path: Path
) -> None:
    before = servers.photograph(ends.left.server, tmp_path / "before")
    admin = Api(ends.left.server.url, ("admin-left", "Admin-left-pass-12345"))
    shut = admin.post("experiments/create", name="shut")["experiment_id"]
    admin.post("runs/create", experiment_id=shut, start_time=1, run_name="hidden")
    denial = {"username": ends.left.user, "resource_type": "experiment", "resource_id": shut, "permission": "DENY"}
    admin.call("POST", f"{V3}users/permissions/grant", json=denial)
    admin.post("registered-models/create", name="hidden model")
    of_model = {**denial, "resource_type": "registered_model", "resource_id": "hidden model"}
    admin.call("POST", f"{V3}users/permissions/grant", json=of_model)
    env = both_by_environment(ends)
    places = ("--src-mlflow-uri", ends.left.server.url, "--dst-mlflow-uri", ends.right.server.url, "--json")
    try:
        named = ("copy-experiments", *places, "--experiments", "with é,shut")
        report = run_tool(*named, env=env).expect(1).json
        (failed,) = [row for row in report["rows"] if row["state"] == "failed"]
        assert (failed["kind"], failed["name"]) == ("experiment", "shut")
        assert "may not be read" in failed["reason"]
        assert databases.compare(ends.left.server, ends.right.server, ONLY) == []
        # Of all of it, the server's lists leave out what is denied without a word; webhooks are an administrator's,
        # and the destination's "Default" may not be written.
        report = run_tool("copy-all", *places, env=env).expect(1).json
        told = {(row["kind"], row["name"], row["state"]) for row in report["rows"]}
        hidden = ("experiment", "those hidden from these credentials", "skipped")
        refused = {("experiment", shut), ("experiment", "Default"), ("registered_model", "hidden model")}
        unlisted = {each for each in told if each[1:] == ("those that can't be listed", "failed")}
        assert "webhook" in {kind for kind, _, _ in unlisted}
        assert hidden in told
        assert {each for each in told - unlisted if each[2] == "failed"} == {(*each, "failed") for each in refused}
        compared = run_tool("verify", ends.left.server.url, ends.right.server.url, "--json", env=env).expect(1).json
        found = {(each["kind"], each["id"]) for each in compared["differences"]}
        assert found >= {("experiment", shut), ("registered_model", "hidden model")}
        for each in (denial, of_model):
            admin.call("POST", f"{V3}users/permissions/revoke", json=each)
        assert run_tool(*named, env=env).expect(0).json["kinds"]["run"]["done"] == 1
        assert databases.compare(ends.left.server, ends.right.server, {**ONLY, "shut": "shut"}) == []
        again = run_tool(*named, env=env).expect(0).json["kinds"]
        assert all(counts["asked"] == counts["same"] for counts in again.values())
    finally:
        admin.close()
        servers.reset(ends.left.server, before)
