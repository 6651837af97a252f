"""The app's database on Lakebase, as a deployment needs it: there, with a schema, and the app's role let in."""

from __future__ import annotations

from mlflow_migration.apps import lakebase, lakebase_schema
from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.lakebase import Connection
from mlflow_migration.apps.lakebase_schema import Login
from mlflow_migration.apps.steps import DONE, SAME, Steps
from mlflow_migration.apps.wait import Waiting
from mlflow_migration.errors import ConflictError, ForbiddenError
from mlflow_migration.server.databricks.principals import SERVICE_PRINCIPAL, Principals, likely_type
from mlflow_migration.server.rest import Rest

STEP = "database"


def connection(rest: Rest, config: AppConfig, steps: Steps, waiting: Waiting) -> Connection:
    """The database, its project made where there is none."""
    home = lakebase.home(rest, config)
    if not home.is_there:
        waiting.tell(f"making Lakebase {home}")
        lakebase.make(rest, config, home, waiting)
    steps.add(STEP, str(home), SAME if home.is_there else DONE)
    return lakebase.connection(rest, config, home, waiting)


def login(rest: Rest, place: Connection) -> Login:
    """How the caller connects: with a token of their own."""
    me = Principals(rest).me()
    return Login(place.host, place.database, me.name, lakebase.token(rest, place))


def reset(rest: Rest, config: AppConfig, place: Connection, steps: Steps) -> None:
    """Drop the schema with everything in it."""
    schema = config.lakebase_or_default.schema_name
    dropped = lakebase_schema.drop(login(rest, place), schema)
    steps.add("reset", f"schema {schema}", DONE if dropped else SAME, "" if dropped else "it wasn't there")


def let_in(rest: Rest, config: AppConfig, place: Connection, client_id: str, waiting: Waiting) -> list[str]:
    """Role, schema and rights of an app's service principal; what had to be done, in words.

    Raises ConflictError where the tables are somebody else's who is still there.
    """
    schema, done = config.lakebase_or_default.schema_name, []
    if lakebase.ensure_role(rest, place.home, client_id, waiting):
        done.append(f"role {client_id}")
    known = login(rest, place)
    for owner in lakebase_schema.owners(known, schema):
        if owner in {client_id, known.user}:
            continue
        if not _is_gone(rest, owner):
            raise ConflictError(
                f"the schema {schema} of {place.home} holds tables of {owner}",
                "another app's, or another user's",
                "give the app a schema of its own: lakebase.schema",
            )
        # It was the service principal of an app that was deleted.
        lakebase.drop_role(rest, place.home, owner, client_id, waiting)
        done.append(f"tables of {owner}, who is gone")
    if not lakebase_schema.ready(known, schema, client_id):
        lakebase_schema.prepare(known, schema, client_id)
        done.append(f"schema {schema}")
    return done


def _is_gone(rest: Rest, owner: str) -> bool:
    """Whether a role is that of a service principal that was deleted. Who may not ask takes it for one still there."""
    if likely_type(owner) != SERVICE_PRINCIPAL:
        return False
    try:
        return Principals(rest).find(owner, SERVICE_PRINCIPAL) is None
    except ForbiddenError:
        return False
