"""What a Databricks workspace tells of itself and of who asks."""

from __future__ import annotations

from mlflow_migration.errors import ForbiddenError
from mlflow_migration.records import Json
from mlflow_migration.server.address import DATABRICKS_UC
from mlflow_migration.server.databricks.grants import Grants
from mlflow_migration.server.databricks.principals import Principals
from mlflow_migration.server.rest import Rest

HIDDEN = "hidden from these credentials"
NONE = "none: Unity Catalog isn't enabled here"


def about(rest: Rest) -> Json:
    """Who asks, by which way of logging in, and the registry and metastore; no secret.

    Raises AccessError where the workspace can't be asked.
    """
    me = Principals(rest).me()
    return {
        "who": f"{me.type.replace('_', ' ')} {me.name}" + (f" ({me.title})" if me.title not in {"", me.name} else ""),
        "login": rest.login,
        "registry": "Unity Catalog" if rest.dialect == DATABRICKS_UC else "the workspace's own",
        "metastore": _metastore(rest),
    }


def _metastore(rest: Rest) -> str:
    try:
        found = Grants(rest).metastore()
    except ForbiddenError:
        return HIDDEN
    return NONE if found is None else str(found.get("name", ""))
