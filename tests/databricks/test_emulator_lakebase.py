"""Lakebase by the real databricks-sdk and a real PostgreSQL driver."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import AlreadyExists, NotFound, PermissionDenied
from databricks.sdk.service.apps import (
    App,
    AppResource,
    AppResourceDatabase,
    AppResourceDatabaseDatabasePermission,
    AppResourcePostgres,
    AppResourcePostgresPostgresPermission,
)
from databricks.sdk.service.database import DatabaseInstance
from databricks.sdk.service.postgres import (
    Database,
    DatabaseDatabaseSpec,
    Project,
    ProjectSpec,
    Role,
    RoleAuthMethod,
    RoleIdentityType,
    RoleRoleSpec,
)
from psycopg import sql

from tests.databricks import lakebase_instances
from tests.databricks.app_samples import Code, as_app, deployed, get
from tests.databricks.clients import sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.lakebase_state import lakebase
from tests.databricks.state import ADMIN, Workspace

pytestmark = pytest.mark.slow

BRANCH = "projects/shop/branches/production"
ENDPOINT = f"{BRANCH}/endpoints/primary"
DATABASE = "databricks_postgres"


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    return databricks_account().workspace("a", metastore="m1")


@pytest.fixture
def project(workspace: Workspace) -> Workspace:
    """The workspace with the project `shop`."""
    sdk(workspace).postgres.create_project(Project(spec=ProjectSpec(display_name="Shop")), "shop").wait()
    return workspace


def host(client: WorkspaceClient) -> str:
    endpoint = client.postgres.get_endpoint(ENDPOINT)
    assert endpoint.status and endpoint.status.hosts and endpoint.status.hosts.host
    return endpoint.status.hosts.host


def token(client: WorkspaceClient) -> str:
    return client.postgres.generate_database_credential(endpoint=ENDPOINT).token or ""


@contextmanager
def logged_in(at: str, user: str, password: str, database: str = DATABASE) -> Iterator["psycopg.Connection"]:
    with psycopg.connect(
        host=at, port=5432, user=user, password=password, dbname=database, sslmode="require", autocommit=True
    ) as connection:
        yield connection


def role_of(client_id: str) -> Role:
    spec = RoleRoleSpec(
        postgres_role=client_id,
        identity_type=RoleIdentityType.SERVICE_PRINCIPAL,
        auth_method=RoleAuthMethod.LAKEBASE_OAUTH_V1,
    )
    return Role(spec=spec)


def test_a_project_has_a_branch_an_endpoint_and_a_database_its_owner_logs_in_to(project: Workspace) -> None:
    client = sdk(project)
    assert [one.name for one in client.postgres.list_projects()] == ["projects/shop"]
    assert [one.name for one in client.postgres.list_branches("projects/shop")] == [BRANCH]
    with logged_in(host(client), ADMIN, token(client)) as connection:
        connection.execute("CREATE SCHEMA mine")
        assert connection.execute("SELECT current_user, current_database()").fetchone() == (ADMIN, DATABASE)
        assert connection.execute("SELECT usesuper FROM pg_user WHERE usename = current_user").fetchone() == (False,)
    with pytest.raises(AlreadyExists):
        client.postgres.create_project(Project(), "shop")
    with pytest.raises(NotFound):
        client.postgres.get_project("projects/other")


def test_connections_without_tls_or_with_another_password_are_refused(project: Workspace) -> None:
    client = sdk(project)
    at = host(client)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=at, user=ADMIN, password=project.token(), dbname=DATABASE, sslmode="require")
    with pytest.raises(psycopg.OperationalError, match="SSL connection is required"):
        psycopg.connect(host=at, user=ADMIN, password=token(client), dbname=DATABASE, sslmode="disable")


def test_an_expired_token_logs_nobody_in_and_keeps_the_connections_there_are(project: Workspace) -> None:
    client = sdk(project)
    at, kept, other = host(client), token(client), token(client)
    with logged_in(at, ADMIN, kept) as connection, logged_in(at, ADMIN, other):
        lakebase(project).expire_tokens()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError), logged_in(at, ADMIN, kept):
            pass
    with logged_in(at, ADMIN, token(client)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_restart_of_the_compute_ends_connections_and_a_good_token_brings_them_back(project: Workspace) -> None:
    client = sdk(project)
    at, kept = host(client), token(client)
    with logged_in(at, ADMIN, kept) as connection:
        cluster = lakebase(project).projects["shop"].cluster
        assert cluster
        cluster.disconnect()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with logged_in(at, ADMIN, kept) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_nothing_of_a_deleted_project_is_in_the_next_one(project: Workspace) -> None:
    client = sdk(project)
    with logged_in(host(client), ADMIN, token(client)) as connection:
        connection.execute("CREATE SCHEMA mine")
        connection.execute("CREATE ROLE extra")
    client.postgres.delete_project("projects/shop").wait()
    with pytest.raises(NotFound):
        client.postgres.get_project("projects/shop")
    client.postgres.create_project(Project(), "shop").wait()
    with logged_in(host(client), ADMIN, token(client)) as connection:
        found = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'mine'").fetchone()
        assert found == (0,)
        connection.execute("CREATE ROLE extra")


def test_a_tokens_end_is_told_and_kept(project: Workspace) -> None:
    client = sdk(project)
    project.account.token_seconds = 2
    at, short = host(client), client.postgres.generate_database_credential(endpoint=ENDPOINT)
    assert short.expire_time and abs(short.expire_time.ToSeconds() - time.time() - 2) < 2
    time.sleep(2.5)
    with pytest.raises(psycopg.OperationalError), logged_in(at, ADMIN, short.token or ""):
        pass


def test_a_role_of_a_service_principal_may_only_what_is_granted(project: Workspace) -> None:
    client = sdk(project)
    credentials = project.account.add_service_principal("job")
    client.postgres.create_role(BRANCH, role_of(credentials.client_id), role_id="sp-job").wait()
    own = WorkspaceClient(host=project.url, client_id=credentials.client_id, client_secret=credentials.client_secret)
    at, name = host(client), credentials.client_id
    with logged_in(at, name, token(own)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE SCHEMA own")
        with logged_in(at, ADMIN, token(client)) as owner:
            owner.execute("CREATE SCHEMA theirs")
            owner.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA theirs TO {}").format(sql.Identifier(name)))
        connection.execute("CREATE TABLE theirs.x (y int)")
    with pytest.raises(psycopg.OperationalError), logged_in(at, ADMIN, token(own)):
        pass


def test_a_stranger_gets_no_token(project: Workspace) -> None:
    project.account.add_user("eve@example.com")
    eve = sdk(project, "eve@example.com")
    with pytest.raises(PermissionDenied):
        token(eve)
    with pytest.raises(PermissionDenied):
        eve.postgres.get_endpoint(ENDPOINT)
    assert list(eve.postgres.list_projects()) == []


def test_a_database_is_made_and_dropped(project: Workspace) -> None:
    client = sdk(project)
    owner = next(iter(client.postgres.list_roles(BRANCH))).name or ""
    spec = DatabaseDatabaseSpec(role=owner, postgres_database="extra")
    client.postgres.create_database(BRANCH, Database(spec=spec), database_id="extra").wait()
    with logged_in(host(client), ADMIN, token(client), "extra") as connection:
        connection.execute("CREATE TABLE x (y int)")
    client.postgres.delete_database(f"{BRANCH}/databases/extra").wait()
    with pytest.raises(psycopg.OperationalError), logged_in(host(client), ADMIN, token(client), "extra"):
        pass


def test_an_app_with_a_database_gets_its_address_and_a_role_that_may_create(project: Workspace) -> None:
    client = sdk(project)
    bound = AppResourcePostgres(
        branch=BRANCH,
        database=f"{BRANCH}/databases/databricks-postgres",
        permission=AppResourcePostgresPostgresPermission.CAN_CONNECT_AND_CREATE,
    )
    app = deployed(
        client,
        Code(env=({"name": "ENDPOINT", "valueFrom": "store"},)),
        App(name="little", resources=[AppResource(name="store", postgres=bound)]),
    )
    seen = get(project, app).json()["environment"]
    assert seen["ENDPOINT"] == ENDPOINT
    assert (seen["PGHOST"], seen["PGPORT"], seen["PGDATABASE"]) == (host(client), "5432", DATABASE)
    assert (seen["PGUSER"], seen["PGSSLMODE"]) == (app.service_principal_client_id, "require")
    assert "PGPASSWORD" not in seen
    with logged_in(seen["PGHOST"], seen["PGUSER"], token(as_app(project, app))) as connection:
        connection.execute("CREATE SCHEMA tables")


def test_who_does_not_manage_the_project_cannot_give_it_to_an_app(project: Workspace) -> None:
    project.account.add_user("ann@example.com")
    bound = AppResourcePostgres(
        branch=BRANCH,
        database=f"{BRANCH}/databases/databricks-postgres",
        permission=AppResourcePostgresPostgresPermission.CAN_CONNECT_AND_CREATE,
    )
    with pytest.raises(PermissionDenied):
        sdk(project, "ann@example.com").apps.create(
            App(name="hers", resources=[AppResource(name="store", postgres=bound)])
        )


def test_an_instance_that_is_there_takes_tokens_and_new_ones_are_refused(workspace: Workspace) -> None:
    client = sdk(workspace)
    lakebase_instances.make_instance(workspace, "old")
    instance = client.database.get_database_instance("old")
    assert instance.state and instance.state.value == "AVAILABLE"
    with pytest.raises(Exception, match="Autoscaling"):
        client.database.create_database_instance(DatabaseInstance(name="new"))
    made = client.database.generate_database_credential(instance_names=["old"])
    with logged_in(instance.read_write_dns or "", ADMIN, made.token or "") as connection:
        connection.execute("CREATE SCHEMA mine")
    bound = AppResourceDatabase(
        instance_name="old",
        database_name=DATABASE,
        permission=AppResourceDatabaseDatabasePermission.CAN_CONNECT_AND_CREATE,
    )
    app = client.apps.create_and_wait(App(name="little", resources=[AppResource(name="db", database=bound)]))
    roles = {one.name for one in client.database.list_database_instance_roles("old")}
    assert roles == {ADMIN, app.service_principal_client_id}
