"""Which Unity Catalog privileges apply to which type of object (Databricks' page "Unity Catalog privileges")."""

from collections.abc import Mapping

EVERYWHERE = {"ALL_PRIVILEGES", "MANAGE"}
IN_SCHEMA = {
    "table": {"SELECT", "MODIFY", "APPLY_TAG"},
    "volume": {"READ_VOLUME", "WRITE_VOLUME", "APPLY_TAG"},
    "function": {"EXECUTE", "CREATE_MODEL_VERSION", "APPLY_TAG"},
}
ON_SCHEMA = {
    "USE_SCHEMA", "CREATE_TABLE", "CREATE_VOLUME", "CREATE_FUNCTION", "CREATE_MODEL", "CREATE_MATERIALIZED_VIEW",
    "EXTERNAL_USE_SCHEMA", "REFRESH",
}  # fmt: skip
SCHEMA = ON_SCHEMA.union(EVERYWHERE, *IN_SCHEMA.values())
# What can be granted on an object of each type: what applies to it, and what its children inherit.
GRANTABLE: Mapping[str, set[str]] = {
    "metastore": {"CREATE_CATALOG", "CREATE_CONNECTION", "CREATE_EXTERNAL_LOCATION", "CREATE_STORAGE_CREDENTIAL"},
    "catalog": SCHEMA | {"USE_CATALOG", "CREATE_SCHEMA", "BROWSE"},
    "schema": SCHEMA,
    **{kind: own | EVERYWHERE for kind, own in IN_SCHEMA.items()},
}
