"""Which Unity Catalog privileges somebody has, how they come by each, and the GRANT statement for each one they lack.

What counts, as Databricks documents it (privileges reference, manage ownership; read in November 2026):

- a privilege granted on the object, its schema or its catalog, to the principal or a group it is in;
- ALL_PRIVILEGES likewise, for each but MANAGE;
- owning the object itself. Who owns its schema or catalog, or has MANAGE, has no privilege by that, but may grant it:
  that is told beside the statement;
- CREATE_FUNCTION lets one create models too, and USAGE is the old name of USE_CATALOG and USE_SCHEMA.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_migration.errors import UsageError
from mlflow_migration.records import Json
from mlflow_migration.server.address import DATABRICKS_UC
from mlflow_migration.server.databricks.about import about
from mlflow_migration.server.databricks.grants import CATALOG, MODEL, SCHEMA, TABLE, VOLUME, Grants, statement
from mlflow_migration.server.databricks.principals import Memberships, Principal, Principals
from mlflow_migration.server.rest import Rest

ALL_PRIVILEGES, MANAGE = "ALL_PRIVILEGES", "MANAGE"
LEVELS: Mapping[str, tuple[str, ...]] = {
    "USE_CATALOG": (CATALOG,),
    "USE_SCHEMA": (SCHEMA, CATALOG),
    "CREATE_MODEL": (SCHEMA, CATALOG),
    "CREATE_TABLE": (SCHEMA, CATALOG),
    "CREATE_VOLUME": (SCHEMA, CATALOG),
    "SELECT": (TABLE, SCHEMA, CATALOG),
    "MODIFY": (TABLE, SCHEMA, CATALOG),
    "EXECUTE": (MODEL, SCHEMA, CATALOG),
    "CREATE_MODEL_VERSION": (MODEL, SCHEMA, CATALOG),
    "APPLY_TAG": (MODEL, SCHEMA, CATALOG),
    MANAGE: (MODEL, SCHEMA, CATALOG),
    "READ_VOLUME": (VOLUME, SCHEMA, CATALOG),
    "WRITE_VOLUME": (VOLUME, SCHEMA, CATALOG),
}
"""The privileges that can be asked for, each with what it may be granted on: it is asked of the first that is named."""
_USE = ("USE_CATALOG", "USE_SCHEMA")
_VOLUMES = ("READ_VOLUME", "WRITE_VOLUME")
PURPOSES: Mapping[str, tuple[str, ...]] = {
    "train": (*_USE, "CREATE_MODEL", "CREATE_TABLE", "MODIFY", "SELECT"),
    "batch": (*_USE, "SELECT", "MODIFY", "EXECUTE"),
    "serve": (*_USE, "EXECUTE"),
    "export": (*_USE, "EXECUTE"),
    "import": (*_USE, "CREATE_MODEL", "EXECUTE", "CREATE_MODEL_VERSION", "APPLY_TAG"),
    "alias": (*_USE, "EXECUTE", MANAGE),
    "volume": (*_USE, *_VOLUMES),
}
"""What each kind of work needs: `train` and `batch` are those of MLOps Stacks' CI principals."""
EVERYTHING = tuple(privilege for privilege in LEVELS if privilege not in {MANAGE, "CREATE_VOLUME", *_VOLUMES})
"""What is looked for where nothing is said; with a volume also reading and writing it."""
ALSO: Mapping[str, frozenset[str]] = {
    "USE_CATALOG": frozenset({"USAGE"}),
    "USE_SCHEMA": frozenset({"USAGE"}),
    "CREATE_MODEL": frozenset({"CREATE_FUNCTION"}),
}
"""Other privileges that allow the same."""
DEPTH = {CATALOG: 1, SCHEMA: 2}


@dataclass(frozen=True)
class Targets:
    """What the rights are about, by full names; "" for what isn't named."""

    catalog: str
    schema: str = ""
    model: str = ""
    table: str = ""
    volume: str = ""

    def securable(self, type_: str) -> Securable | None:
        """The object of a type, if it is named."""
        named = {CATALOG: self.catalog, SCHEMA: self.schema, MODEL: self.model, TABLE: self.table, VOLUME: self.volume}
        return Securable(type_, named[type_]) if named[type_] else None


@dataclass(frozen=True)
class Securable:
    """An object of Unity Catalog by type and full name."""

    type: str
    name: str

    @property
    def above(self) -> tuple[Securable, ...]:
        """Its schema and catalog, the nearest first."""
        parts = self.name.split(".")
        found = [Securable(type_, ".".join(parts[:depth])) for type_, depth in DEPTH.items() if depth < len(parts)]
        return tuple(reversed(found))

    def __str__(self) -> str:
        word = "model" if self.type == MODEL else self.type
        return f"{word} {self.name}"


@dataclass(frozen=True)
class Finding:
    """Whether a principal has a privilege on an object. `how` says by what, "" where it hasn't; `note` who could give
    it; `statement` does."""

    privilege: str
    securable: Securable
    how: str = ""
    note: str = ""
    statement: str = ""

    def as_json(self) -> Json:
        return {
            "privilege": self.privilege,
            "on": {"type": self.securable.type, "name": self.securable.name},
            "has": bool(self.how),
            "how": self.how,
            "note": self.note,
            "grant": self.statement,
        }


@dataclass(frozen=True)
class Access:
    """What was found out about one principal."""

    principal: Principal
    groups: Memberships
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.how)

    def as_json(self) -> Json:
        """Who it is, in which groups, and each privilege; `statements` are those that grant what is missing."""
        who = self.principal
        return {
            "principal": {"type": who.type, "name": who.name, "title": who.title if who.title != who.name else ""},
            "groups": [{"name": each.group, "by": list(each.path[:-1])} for each in self.groups.all],
            "unseen": list(self.groups.unseen),
            "privileges": [finding.as_json() for finding in self.findings],
            "statements": [finding.statement for finding in self.missing],
        }


def needs(words: Iterable[str], targets: Targets) -> list[tuple[str, Securable]]:
    """Each needed privilege and what it is needed on, in the order of `LEVELS`. `words` are purposes and privileges.

    Raises UsageError for a word that is neither.
    """
    wanted: set[str] = set()
    for word in words:
        privilege = word.strip().upper().replace(" ", "_").replace("-", "_")
        if word.strip().lower() not in PURPOSES and privilege not in LEVELS:
            known = ", ".join((*PURPOSES, *LEVELS))
            raise UsageError(f"neither a purpose nor a privilege: {word.strip()!r}", hint=f"one of: {known}")
        wanted |= {*PURPOSES.get(word.strip().lower(), (privilege,))}
    if not wanted:
        wanted = {*EVERYTHING, *(_VOLUMES if targets.volume else ())}
    found = []
    for privilege, types in LEVELS.items():
        if privilege in wanted:
            on = next(filter(None, map(targets.securable, types)))
            found.append((privilege, on))
    return found


def check(rest: Rest, name: str, wanted: Sequence[tuple[str, Securable]]) -> Access:
    """Look up a principal, "" for the caller, and whether it has each privilege.

    Raises UsageError where there is no such principal, catalog, schema, model, table or volume, ForbiddenError where
    these credentials may not ask, AccessError where the workspace can't be asked at all.
    """
    principals = Principals(rest)
    principal = principals.find(name) if name else principals.me()
    if principal is None:
        hint = "give a user's name, a group's display name, or a service principal's application id"
        raise UsageError(f"no such principal: {name!r}", f"at {rest.address}", hint)
    groups = principals.memberships(principal)
    rights = _Rights(Grants(rest), rest.address, _Identity(principal, groups))
    return Access(principal, groups, tuple(rights.finding(*need) for need in wanted))


def of_caller(rest: Rest, schema: str, purpose: str) -> Json:
    """What a workspace tells of itself and who asks; with a schema, `CATALOG.SCHEMA`, of a workspace with Unity Catalog
    also `missing`, the statements for what the purpose lacks there. Raises as `check` does."""
    found = about(rest)
    if schema and rest.dialect == DATABRICKS_UC:
        catalog, _, name = schema.partition(".")
        if not catalog or not name or "." in name:
            raise UsageError(f"not a schema's full name: {schema!r}", hint="write it CATALOG.SCHEMA")
        found["missing"] = check(rest, "", needs([purpose], Targets(catalog, schema))).as_json()["statements"]
    return found


@dataclass(frozen=True)
class _Identity:
    """All the names that grants may be made to so that the principal has them, and by which group each is its."""

    principal: Principal
    groups: Memberships
    paths: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        paths = {each.group: " by group " + " in ".join(each.path) for each in self.groups.all}
        object.__setattr__(self, "paths", {**paths, self.principal.name: ""})

    def by(self, name: str) -> str | None:
        """By which group a name is the principal's, "" for its own; None for somebody else's."""
        return self.paths.get(name)


class _Rights:
    """What one principal has. Each object is asked for once."""

    def __init__(self, grants: Grants, address: str, identity: _Identity) -> None:
        self._grants, self._address, self._identity = grants, address, identity
        self._owners: dict[Securable, str] = {}
        self._held: dict[Securable, dict[str, str]] = {}

    def finding(self, privilege: str, on: Securable) -> Finding:
        """How the principal comes by a privilege, or what gives it."""
        by = self._identity.by(self._owner(on))
        ways = self._ways(on)
        for word in (privilege, *sorted(ALSO.get(privilege, ())), *((ALL_PRIVILEGES,) if privilege != MANAGE else ())):
            if word in ways:
                return Finding(privilege, on, how=(f"{word} " if word != privilege else "") + ways[word])
        if by is not None:
            return Finding(privilege, on, how=f"owns it{by}")
        granting = statement(privilege, on.type, on.name, self._identity.principal.name)
        return Finding(privilege, on, note=self._could_grant(on, ways), statement=granting)

    def _ways(self, on: Securable) -> Mapping[str, str]:
        """Each privilege that is held, with the words for how: the principal's own before a group's."""
        if on not in self._held:
            found = []
            for row in self._grants.effective(on.type, on.name, self._identity.paths):
                by = self._identity.by(str(row.get("principal", "")))
                if by is not None:
                    found += [(by, _inherited(each), str(each["privilege"])) for each in row.get("privileges", ())]
            # The last one of a privilege stays.
            self._held[on] = {privilege: where + by for by, where, privilege in sorted(found, reverse=True)}
        return self._held[on]

    def _could_grant(self, on: Securable, ways: Mapping[str, str]) -> str:
        """What lets the principal give it to itself, if anything does."""
        if MANAGE in ways:
            return f"has MANAGE {ways[MANAGE]}, so it may grant it to itself"
        for above in on.above:
            by = self._identity.by(self._owner(above))
            if by is not None:
                return f"owns {above}{by}, so it may grant it to itself"
        return ""

    def _owner(self, on: Securable) -> str:
        if on not in self._owners:
            for each in (*reversed(on.above), on):
                head = self._grants.head(each.type, each.name) if each not in self._owners else None
                if each not in self._owners and head is None:
                    raise UsageError(f"no such {each}", f"at {self._address}", "check the name")
                if head is not None:
                    self._owners[each] = str(head.get("owner", ""))
        return self._owners[on]


def _inherited(privilege: Json) -> str:
    """Where an effective privilege comes from."""
    if not privilege.get("inherited_from_name"):
        return "granted on it"
    type_ = str(privilege.get("inherited_from_type", "")).lower()
    return f"granted on {type_} {privilege['inherited_from_name']}"
