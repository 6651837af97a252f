"""Users, groups and service principals of a Databricks workspace, by its SCIM routes.

The answers are those that databricks-sdk's `iam` service reads (0.156): a user is known by `userName`, a group by
`displayName`, a service principal by `applicationId`, which `Me` shows as its `userName`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.rest import Rest

ROUTE = "/api/2.0/preview/scim/v2/"
USER, GROUP, SERVICE_PRINCIPAL = "user", "group", "service_principal"
_LISTS = {
    USER: ("Users", "userName"),
    SERVICE_PRINCIPAL: ("ServicePrincipals", "applicationId"),
    GROUP: ("Groups", "displayName"),
}
"""By type: the route, and the field that a principal is known by in access lists and grants."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
EVERYBODY = "account users"
"""The group that everybody in the account is in: Unity Catalog knows it, SCIM of a workspace lists it for nobody."""


@dataclass(frozen=True)
class Principal:
    """Somebody who may be given rights. `name` is what grants call them, `title` what people do."""

    type: str
    name: str
    id: str
    title: str = ""


@dataclass(frozen=True)
class Membership:
    """A group that somebody is in, and the groups in between: `path` begins with the one they are in themselves."""

    group: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Memberships:
    """The groups somebody is in; of those in `unseen` it isn't known which groups they are in themselves."""

    all: tuple[Membership, ...]
    unseen: tuple[str, ...]


def likely_type(name: str) -> str:
    """What a name looks like: an application id, an e-mail address, or else a group's name."""
    if _UUID.fullmatch(name):
        return SERVICE_PRINCIPAL
    return USER if "@" in name else GROUP


class Principals:
    """Looks principals up."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def me(self) -> Principal:
        """Whose credentials these are. Raises AccessError where they are refused."""
        return self._of(self._me(), USER)

    def _me(self) -> Json:
        return self._rest.call("GET", ROUTE + "Me")

    def _of(self, head: Json, type_: str) -> Principal:
        name = str(head.get("applicationId") or head.get("userName") or head.get("displayName") or "")
        found = SERVICE_PRINCIPAL if type_ == USER and likely_type(name) == SERVICE_PRINCIPAL else type_
        return Principal(found, name, str(head.get("id", "")), str(head.get("displayName") or ""))

    def find(self, name: str, likely: str = "") -> Principal | None:
        """The principal that grants call by this name, of the likely type first; None where there is none.

        Raises ForbiddenError where these credentials may not look.
        """
        head, type_ = self._find(name, likely)
        if head is None:
            return None
        return Principal(type_, str(head[_LISTS[type_][1]]), str(head["id"]), str(head.get("displayName") or ""))

    def _find(self, name: str, likely: str) -> tuple[Json | None, str]:
        first = likely or likely_type(name)
        for type_ in sorted(_LISTS, key=lambda each: each != first):
            route, field = _LISTS[type_]
            text = name.replace("\\", "\\\\").replace('"', '\\"')
            answer = self._rest.call("GET", ROUTE + route, query={"filter": f'{field} eq "{text}"', "count": "100"})
            for head in answer.get("Resources", []):
                # SCIM compares without regard to case, as mail addresses do; groups' names may differ by nothing else.
                found = str(head.get(field, ""))
                if found == name or (type_ != GROUP and found.lower() == name.lower()):
                    return head, type_
        return None, ""

    def memberships(self, principal: Principal) -> Memberships:
        """Every group the principal is in, by whatever other groups, and last the one that everybody is in.

        One request for the principal and one for each group. Of the caller `Me` is asked, which anyone may.
        """
        own = self._me()
        mine = str(own.get("id")) == principal.id and principal.type != GROUP
        head = own if mine else self._get(principal.type, principal.id)
        found: dict[str, Membership] = {}
        unseen = []
        waiting: list[tuple[tuple[str, ...], Json]] = [((), group) for group in _direct(head)]
        while waiting:
            path, group = waiting.pop(0)
            name = str(group.get("display") or group.get("value"))
            if name in found:
                continue
            found[name] = Membership(name, (*path, name))
            above = self._above(str(group.get("value")))
            if above is None:
                unseen.append(name)
            waiting += [((*path, name), each) for each in above or ()]
        if principal.name != EVERYBODY:
            found.setdefault(EVERYBODY, Membership(EVERYBODY, (EVERYBODY,)))
        return Memberships(tuple(found.values()), tuple(unseen))

    def _above(self, group_id: str) -> list[Json] | None:
        """The groups that a group is in; None where the workspace doesn't show it, as some of the account's groups."""
        try:
            return _direct(self._get(GROUP, group_id))
        except ForbiddenError:
            return None
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def _get(self, type_: str, id_: str) -> Json:
        return self._rest.call("GET", f"{ROUTE}{_LISTS[type_][0]}/{quote(id_, safe='')}")


def _direct(head: Json) -> list[Json]:
    """The groups in a SCIM answer, those it names as direct ones first."""
    return sorted(head.get("groups") or (), key=lambda group: str(group.get("type", "direct")).lower() != "direct")
