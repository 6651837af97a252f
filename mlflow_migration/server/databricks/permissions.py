"""Access lists of a Databricks workspace: experiments by its permissions, models by those too or by Unity Catalog's
grants.

Routes and fields are those of databricks-sdk 0.156 (`iam.PermissionsAPI`, `ml.ModelRegistryAPI.get_model`): a model of
the workspace's registry goes by an id of its own there. PATCH adds, or gives a principal another level; it takes
nothing away.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import quote

from mlflow_migration.calls.access_lists import AccessList, Entry
from mlflow_migration.errors import ForbiddenError, NotFoundError, ServerError
from mlflow_migration.places import UNITY_CATALOG, WORKSPACE
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.databricks.grants import Grants, is_gone
from mlflow_migration.server.databricks.principals import EVERYBODY, GROUP, SERVICE_PRINCIPAL, USER, Principals
from mlflow_migration.server.databricks.principals import likely_type as guess
from mlflow_migration.server.rest import Rest

log = logging.getLogger(__name__)

ROUTE = "/api/2.0/permissions/"
EXPERIMENTS, MODELS = "experiments", "registered-models"
OWNER = "IS_OWNER"
FIELDS = {USER: "user_name", GROUP: "group_name", SERVICE_PRINCIPAL: "service_principal_name"}


class AccessLists:
    """Implements `AccessListCalls`."""

    def __init__(self, rest: Rest, unity: bool) -> None:
        self._rest = rest
        self._grants = Grants(rest) if unity else None
        self._principals = Principals(rest)

    @property
    def dialect_of_models(self) -> str:
        """In which words lists of models are written."""
        return UNITY_CATALOG if self._grants else WORKSPACE

    def of_experiment(self, experiment_id: str) -> AccessList | None:
        """Who was given what on an experiment; None where there is none. Raises ForbiddenError."""
        return self._list(EXPERIMENTS, experiment_id)

    def of_model(self, name: str) -> AccessList | None:
        """Who was given what on a registered model; None where there is none. Raises ForbiddenError."""
        if self._grants:
            return self._grants.of_model(name)
        found = self._id_of_model(name)
        return None if found is None else self._list(MODELS, found)

    def known(self, principal: str, likely: str) -> tuple[str, str] | None:
        """A principal's type and its name as the workspace writes it; None where it knows none.

        Who may not look principals up takes it for what it looks like: the request that names it tells.
        """
        if principal == EVERYBODY:
            return (GROUP, EVERYBODY) if self._grants else None
        try:
            found = self._principals.find(principal, likely)
        except ForbiddenError as error:
            log.info("principal %s isn't looked up: %s", principal, error)
            return likely or guess(principal), principal
        return (found.type, found.name) if found else None

    def add_to_experiment(self, experiment_id: str, entries: Sequence[Entry]) -> None:
        """Give what entries say on an experiment, in one request."""
        self._add(EXPERIMENTS, experiment_id, entries)

    def add_to_model(self, name: str, entries: Sequence[Entry]) -> None:
        """Give what entries say on a registered model, in one request. Raises NotFoundError where there is none."""
        if self._grants:
            self._grants.add_to_model(name, entries)
            return
        found = self._id_of_model(name)
        if found is None:
            raise NotFoundError(f"no such registered model: {name!r}", f"at {self._rest.address}")
        self._add(MODELS, found, entries)

    def _id_of_model(self, name: str) -> str | None:
        route = pages.V2 + "databricks/registered-models/get"
        head = pages.get_or_none(self._rest, route, {"name": name}, "registered_model_databricks")
        return None if head is None else str(head["id"])

    def _list(self, type_: str, id_: str) -> AccessList | None:
        try:
            answer = self._rest.call("GET", f"{ROUTE}{type_}/{quote(id_, safe='')}")
        except ServerError as error:
            if is_gone(error):
                return None
            raise
        entries, owner = [], ""
        for row in answer.get("access_control_list", ()):
            kind = next(type_ for type_, field in FIELDS.items() if row.get(field))
            levels = _direct_levels(row)
            if OWNER in levels:
                owner = str(row[FIELDS[kind]])
            if given := tuple(level for level in levels if level != OWNER):
                entries.append(Entry(kind, str(row[FIELDS[kind]]), given))
        return AccessList(WORKSPACE, tuple(entries), owner)

    def _add(self, type_: str, id_: str, entries: Sequence[Entry]) -> None:
        rows = [
            {FIELDS[entry.type]: entry.principal, "permission_level": level}
            for entry in entries
            for level in entry.levels
        ]
        self._rest.call("PATCH", f"{ROUTE}{type_}/{quote(id_, safe='')}", {"access_control_list": rows})


def _direct_levels(row: Json) -> tuple[str, ...]:
    """The levels given on the object itself: those of the folder it lies in come with that."""
    return tuple(str(each["permission_level"]) for each in row.get("all_permissions", ()) if not each.get("inherited"))
