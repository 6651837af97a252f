"""An app's PostgreSQL: a project that is made or found, an instance that exists, a role with no more than it needs."""

import psycopg
import pytest
from typing_extensions import LiteralString

from mlflow_migration.apps.deploy import deploy
from mlflow_migration.apps.lifecycle import delete
from mlflow_migration.errors import ForbiddenError, NotFoundError, UsageError
from tests.apps.deploying import NAME, Trial, configured, trial
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.lakebase_instances import make_instance
from tests.databricks.lakebase_state import Cluster, lakebase

Rows = list[tuple[object, ...]]
LAKEBASE = {"backend": "lakebase"}


@pytest.fixture
def made(databricks_account: AccountFactory) -> Trial:
    return trial(databricks_account().workspace("a", metastore="m1"))


def cluster(made: Trial, name: str = NAME, instance: bool = False) -> Cluster:
    held = lakebase(made.workspace).instances if instance else lakebase(made.workspace).projects
    found = held[name].cluster
    assert found
    return found


def ask(made: Trial, statement: LiteralString, *values: str) -> Rows:
    """What PostgreSQL itself says, asked as its superuser."""
    return asked(cluster(made), statement, *values)


def asked(where: Cluster, statement: LiteralString, *values: str) -> Rows:
    address = where.address.replace("/postgres?", "/databricks_postgres?")
    with psycopg.connect(address, autocommit=True) as base:
        cursor = base.execute(statement, values)
        return [tuple(row) for row in cursor.fetchall()]


def as_app(made: Trial, statement: LiteralString) -> None:
    """What the app does with a token of its own."""
    client_id = str(made.app()["service_principal_client_id"])
    password = lakebase(made.workspace).token(client_id, 600)
    with psycopg.connect(
        host=cluster(made).host, dbname="databricks_postgres", user=client_id, password=password, sslmode="require"
    ) as base:
        base.execute(statement)


def test_a_project_is_made_with_a_schema_that_the_apps_own_role_may_fill_and_no_more(made: Trial) -> None:
    config = configured(**LAKEBASE, lakebase={"min_cu": 1, "max_cu": 2})
    outcome = deploy(made.place(), config, made.options(), False)
    assert outcome.failure is None, outcome.failure
    assert (outcome.lakebase_name, outcome.schema_name) == (NAME, "mlflow")
    project = made.ask(f"postgres/projects/{NAME}").json()["status"]
    assert project["default_endpoint_settings"] == {"autoscaling_limit_min_cu": 1, "autoscaling_limit_max_cu": 2}
    client_id = made.app()["service_principal_client_id"]
    found = "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = %s"
    assert ask(made, found, client_id) == [(False, False, False, False)]
    assert ask(made, "SELECT pg_has_role(%s, 'databricks_superuser', 'MEMBER')", client_id) == [(False,)]
    as_app(made, "CREATE TABLE mlflow.runs (id int)")
    environment = made.call()["environment"]
    assert environment["PGUSER"] == client_id and environment["PGHOST"] == cluster(made).host
    assert environment["MLFLOW_APP_LAKEBASE_ENDPOINT"] == f"projects/{NAME}/branches/production/endpoints/primary"
    assert environment["MLFLOW_APP_SCHEMA"] == "mlflow" and "PGPASSWORD" not in environment


def test_a_second_run_writes_nothing_and_keeps_the_tables(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    as_app(made, "CREATE TABLE mlflow.runs (id int)")
    made.workspace.requests.clear()
    again = deploy(made.place(), configured(**LAKEBASE), made.options())
    assert again.failure is None and again.status == "same", again.rows
    assert made.writes() == []
    assert ask(made, "SELECT tablename FROM pg_tables WHERE schemaname = 'mlflow'") == [("runs",)]


def test_an_instance_that_exists_is_used_by_its_name(made: Trial) -> None:
    make_instance(made.workspace, "old-pg", made.client.client_id)
    outcome = deploy(made.place(), configured(**LAKEBASE, lakebase={"project": "old-pg"}), made.options())
    assert outcome.failure is None, outcome.failure
    assert made.ask("postgres/projects").json().get("projects", []) == []
    database = made.app()["resources"][-1]["database"]
    assert database["instance_name"] == "old-pg" and database["permission"] == "CAN_CONNECT_AND_CREATE"
    assert made.call()["environment"]["MLFLOW_APP_LAKEBASE_INSTANCE"] == "old-pg"
    schemas = asked(cluster(made, "old-pg", True), "SELECT 1 FROM pg_namespace WHERE nspname = 'mlflow'")
    assert schemas == [(1,)]


def test_an_instance_keeps_nothing_of_an_app_that_goes_with_its_data(made: Trial) -> None:
    make_instance(made.workspace, "old-pg", made.client.client_id)
    config = configured(**LAKEBASE, lakebase={"instance": "old-pg"})
    deploy(made.place(), config, made.options())
    outcome = delete(made.place(), config, made.options(), data=True)
    assert outcome.failure is None, outcome.failure
    where = cluster(made, "old-pg", True)
    assert asked(where, "SELECT 1 FROM pg_namespace WHERE nspname = 'mlflow'") == []
    assert [role.name for role in where.roles.values()] == [made.client.client_id]


@pytest.mark.slow
def test_an_instance_that_is_named_and_not_there_is_told_before_anything_is_made(made: Trial) -> None:
    with pytest.raises(UsageError, match="there is no Lakebase instance old-pg"):
        deploy(made.place(), configured(**LAKEBASE, lakebase={"instance": "old-pg"}), made.options())
    assert made.writes() == []


@pytest.mark.slow
def test_a_reset_drops_the_schema_and_nothing_else_does(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    as_app(made, "CREATE TABLE mlflow.runs (id int)")
    deploy(made.place(), configured(**LAKEBASE), made.options("two"))
    assert ask(made, "SELECT tablename FROM pg_tables WHERE schemaname = 'mlflow'") == [("runs",)]
    outcome = deploy(made.place(), configured(**LAKEBASE), made.options("two", reset_database=True), True)
    assert outcome.failure is None and outcome.database_reset
    assert ask(made, "SELECT tablename FROM pg_tables WHERE schemaname = 'mlflow'") == []
    as_app(made, "CREATE TABLE mlflow.runs (id int)")
    assert len(made.deployments()) == 3


@pytest.mark.slow
def test_a_rehearsed_reset_says_so_and_drops_nothing(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    outcome = deploy(made.place(), configured(**LAKEBASE), made.options(dry_run=True, reset_database=True))
    assert [row.state for row in outcome.rows if row.step == "reset"] == ["would"]
    assert outcome.database_reset is False


@pytest.mark.slow
def test_a_deletion_with_a_reset_takes_the_schema_and_leaves_the_passphrase(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    as_app(made, "CREATE TABLE mlflow.runs (id int)")
    outcome = delete(made.place(), configured(**LAKEBASE), made.options(reset_database=True))
    assert outcome.failure is None and outcome.database_reset
    assert asked(cluster(made), "SELECT 1 FROM pg_namespace WHERE nspname = 'mlflow'") == []
    assert made.ask("secrets/list", scope=f"mlflow-app-{NAME}").json()["secrets"]
    with pytest.raises(UsageError, match="only a database of lakebase"):
        delete(made.place(), configured(), made.options(reset_database=True))


@pytest.mark.slow
def test_only_lakebase_can_be_reset(made: Trial) -> None:
    with pytest.raises(UsageError, match="only a database of lakebase"):
        deploy(made.place(), configured(), made.options(reset_database=True))


@pytest.mark.slow
def test_an_app_that_was_made_again_owns_the_tables_of_the_one_that_is_gone(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    as_app(made, "CREATE TABLE mlflow.runs (id int)")
    first = made.app()["service_principal_client_id"]
    delete(made.place(), configured(**LAKEBASE), made.options())
    assert ask(made, "SELECT tableowner FROM pg_tables WHERE schemaname = 'mlflow'") == [(first,)]
    outcome = deploy(made.place(), configured(**LAKEBASE), made.options(), False)
    assert outcome.failure is None, outcome.failure
    second = made.app()["service_principal_client_id"]
    assert ask(made, "SELECT tableowner FROM pg_tables WHERE schemaname = 'mlflow'") == [(second,)]
    as_app(made, "ALTER TABLE mlflow.runs ADD COLUMN name text")


@pytest.mark.slow
def test_tables_of_another_app_that_is_still_there_are_left_to_it(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    as_app(made, "CREATE TABLE mlflow.runs (id int)")
    other = configured(**LAKEBASE, lakebase={"project": NAME}).model_copy(update={"name": "other"})
    outcome = deploy(made.place(), other, made.options(), False)
    assert outcome.failure and "holds tables of" in str(outcome.failure)
    assert "lakebase.schema" in outcome.failure.hint


@pytest.mark.slow
def test_data_that_is_to_go_takes_the_schema_and_the_role_with_it(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    as_app(made, "CREATE TABLE mlflow.runs (id int)")
    client_id = made.app()["service_principal_client_id"]
    outcome = delete(made.place(), configured(**LAKEBASE), made.options(), data=True)
    assert outcome.failure is None and outcome.database_reset, outcome.failure
    assert ask(made, "SELECT 1 FROM pg_namespace WHERE nspname = 'mlflow'") == []
    assert ask(made, "SELECT 1 FROM pg_roles WHERE rolname = %s", client_id) == []


@pytest.mark.slow
def test_who_has_no_right_on_the_project_is_told_so_before_anything_is_made(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    account = made.workspace.account
    account.add_user("ben@example.com")
    made.workspace.requests.clear()
    config = configured(name="bens", volume=None, artifacts="/srv/artifacts", **LAKEBASE, lakebase={"project": NAME})
    with pytest.raises(ForbiddenError):
        deploy(made.with_token("ben@example.com"), config, made.options(), False)
    assert made.writes() == []


@pytest.mark.slow
def test_a_workspace_without_provisioned_instances_gets_a_project(made: Trial) -> None:
    told = {"error_code": "FEATURE_DISABLED", "message": "Database instances are not enabled"}
    made.workspace.faults.add(Fault("GET /api/2.0/database/instances", 400, times=0, body=told))
    outcome = deploy(made.place(), configured(**LAKEBASE), made.options(), False)
    assert outcome.failure is None, outcome.failure
    assert outcome.lakebase_name == NAME


@pytest.mark.slow
def test_a_branch_that_is_not_there_is_named(made: Trial) -> None:
    deploy(made.place(), configured(**LAKEBASE), made.options())
    outcome = deploy(made.place(), configured(**LAKEBASE, lakebase={"branch": "nowhere"}), made.options())
    assert isinstance(outcome.failure, NotFoundError) and "has no branch nowhere" in str(outcome.failure)
