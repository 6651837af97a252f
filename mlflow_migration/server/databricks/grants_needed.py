"""What a person is told who lacks a right in Unity Catalog: the GRANT statement that gives it."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_migration.errors import ForbiddenError, MigrationError, NotFoundError, ServerError
from mlflow_migration.server.databricks.grants import CATALOG, MODEL, SCHEMA, statement
from mlflow_migration.server.rest import Rest

Pairs = tuple[tuple[str, str], ...]
"""Privileges, each with the type of what it is granted on."""
ME = "/api/2.0/preview/scim/v2/Me"
TO_CREATE = (("USE CATALOG", CATALOG), ("USE SCHEMA", SCHEMA), ("CREATE MODEL", SCHEMA))
TO_READ = (("USE CATALOG", CATALOG), ("USE SCHEMA", SCHEMA), ("EXECUTE", MODEL))
TO_CHANGE = (*TO_READ, ("APPLY TAG", MODEL))


def to_create(rest: Rest, name: str, error: ForbiddenError) -> ForbiddenError:
    """Making a model is refused: with the statements for the right the server names, or for all it takes."""
    return _refused(f"{name!r} may not be made", _named(error, TO_CREATE), (rest, name, error))


def to_read(rest: Rest, name: str, error: ForbiddenError) -> ForbiddenError:
    """A model is hidden: with the statements for the right the server names, or for all it takes."""
    return _refused(f"{name!r} can't be looked at", _named(error, TO_READ), (rest, name, error))


def on_model(rest: Rest, name: str, privilege: str, error: ForbiddenError) -> ForbiddenError:
    """A change of a model is refused: with the statement for the right the server names, or for `privilege`."""
    wanted = _named(error, ((privilege, MODEL), *TO_CHANGE)) if error.why else ()
    if len(wanted) != 1:
        wanted = ((privilege, MODEL),)
    return _refused(f"{name!r} may not be changed", wanted, (rest, name, error))


def to_list(rest: Rest, place: str, error: ForbiddenError) -> ForbiddenError:
    """What a catalog or schema, `main` or `main.ml`, holds is hidden: with the statements for the right the server
    names, or for all it takes."""
    catalog, _, schema = place.partition(".")
    wanted = TO_CREATE[:2] if schema else TO_CREATE[:1]
    securables = {CATALOG: catalog, SCHEMA: place}
    return _with_statements(f"what {place!r} holds can't be listed", _named(error, wanted), securables, (rest, error))


def no_schema(name: str, error: ServerError) -> NotFoundError:
    """The catalog or schema of a name isn't there, or is hidden from these credentials."""
    schema = name.rpartition(".")[0]
    return NotFoundError(
        f"no such catalog or schema: {schema!r}",
        f"{error.why}; make it by CREATE SCHEMA {schema}, or ask for USE CATALOG and USE SCHEMA on it",
    )


def _named(error: ForbiddenError, privileges: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Those of the privileges that the server's words name; all where they name none."""
    words = error.why.upper().replace("_", " ")
    return tuple(pair for pair in privileges if pair[0] in words) or privileges


def _refused(what: str, wanted: tuple[tuple[str, str], ...], about: tuple[Rest, str, ForbiddenError]) -> ForbiddenError:
    rest, name, error = about
    catalog, schema, _ = name.split(".")
    securables = {CATALOG: catalog, SCHEMA: f"{catalog}.{schema}", MODEL: name}
    return _with_statements(what, wanted, securables, (rest, error))


def _with_statements(
    what: str, wanted: Pairs, securables: Mapping[str, str], about: tuple[Rest, ForbiddenError]
) -> ForbiddenError:
    rest, error = about
    principal = _caller(rest)
    statements = " ".join(statement(right, type_, securables[type_], principal) for right, type_ in wanted)
    return ForbiddenError(what, f"{error.why} Who may, types: {statements}", statements)


def _caller(rest: Rest) -> str:
    """Whom these credentials are of; words for them where the workspace doesn't tell."""
    try:
        found = rest.call("GET", ME)
    except MigrationError:
        return "these credentials"
    return str(found.get("userName") or found.get("displayName") or "these credentials")
