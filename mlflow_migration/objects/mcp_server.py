"""MCP servers of MLflow's registry: their versions, tags, aliases, and the addresses they are reached at.

A server's name is its identity. At a destination origin tags tell where one came from. Versions have numbers of their
own, which MLflow never gives to another one, not even after they are deleted; deleted ones can't be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, ServerError
from mlflow_migration.objects import forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import ORIGIN, Identity, Json, Loss, Record, Written, without_origin

NAME = "mcp_server"
NEEDS: tuple[str, ...] = ()
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.15",
    carried="name, display name, description, icons, versions with status, tools and connect options, tags, aliases, "
    "access endpoints",
    kept_beside="name and place it came from (tags mlflow_migration.*)",
    lost="times, who made it, ids of access endpoints; deleted versions",
)
NEW_IDS = False
validate_row = kind.no_row
link = kind.no_link
origin = kind.own_id
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
choose = kind.choose_unless_of_experiments
Step = Callable[[], object]
ACCESS = "mcp_access_endpoint"
MADE_AT = "made"
OF_ITS_MAKING = ("created_by", "creation_timestamp", "last_updated_by", "last_updated_timestamp")
SOURCE = ORIGIN + "source"
SOURCE_NAME = ORIGIN + "mcp_server"
OWN = ("display_name", "description", "icons")
OF_A_VERSION = ("version", "server_json", "status", "source", "connect_options", "tags")
OF_AN_ADDRESS = ("url", "transport_type", "server_version", "server_alias")
STEPS = {("draft", "deprecated"): ("active", "deprecated"), ("deprecated", "draft"): ("active", "draft")}
"""The ways between states that MLflow doesn't go at once (`VALID_STATUS_TRANSITIONS` of 3.17.2)."""
TAKEN = "RESOURCE_ALREADY_EXISTS"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises ValueError."""
    form = forms.McpServer.model_validate(head)
    if any(each.server_json.get("name") != form.name for each in form.versions):
        raise ValueError("it has a version of another server")
    if any(each.server_json.get("version") != each.version for each in form.versions):
        raise ValueError("a version's server_json is of another version")
    return home(form.name), form.name


def home(name: str) -> tuple[str, ...]:
    return ("mcp_servers", name)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All MCP servers; none where only some experiments are asked for."""
    if not kind.of_experiments(selection):
        yield from (_record(source, head) for head in source.mcp.list_servers())


def record(source: Readable, name: str, selection: Selection) -> Record | None:
    """One MCP server by name, or None."""
    return _at(source, name)


def _record(source: Readable, shown: Json) -> Record:
    name = str(shown["name"])
    # MLflow calls the later made one of two versions that differ in their build only the newer one.
    found = sorted(source.mcp.list_versions(name), key=lambda each: (each["creation_timestamp"], each["version"]))
    head = {key: shown.get(key) for key in ("name", "tags", "aliases", *OWN)}
    head["icons"] = _own_icons(shown.get("icons"))
    head["access_endpoints"] = [
        {"id": each["id"], **{key: each.get(key) for key in OF_AN_ADDRESS}} for each in shown["access_endpoints"]
    ]
    head["versions"] = [{**{key: each.get(key) for key in OF_A_VERSION}, "tools": _tools(each)} for each in found]
    head[MADE_AT] = {
        "server": _made_at(shown),
        "versions": {each["version"]: _made_at(each) for each in found},
        "access_endpoints": {each["id"]: _made_at(each) for each in shown["access_endpoints"]},
    }
    latest = next((each for each in found if each["version"] == shown.get("latest_version")), None)
    if latest and shown.get("description") == latest["server_json"].get("description"):
        # A server without one of its own shows that of its latest version.
        head["description"] = None
    return Record(NAME, name, name, home(name), head)


def _made_at(shown: Json) -> Json:
    """Who made and changed it, and when: only a database keeps that."""
    return {key: shown[key] for key in OF_ITS_MAKING if shown.get(key) is not None}


def _own_icons(icons: list[Json] | None) -> list[Json] | None:
    """The icons that were given to the server; MLflow shows those of its latest version among them."""
    if not icons:
        return icons
    own = [each for each in icons if each.get("source") == "server"]
    return [{key: value for key, value in each.items() if key != "source"} for each in own] or None


def _tools(version: Json) -> list[Json]:
    return [{key: value for key, value in tool.items() if value is not None} for tool in version.get("tools") or ()]


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    head = record.head
    return {
        **{key: head[key] for key in OWN},
        "tags": without_origin(head["tags"]),
        "aliases": _aliases(head),
        "access_endpoints": sorted((_address(each) for each in head["access_endpoints"]), key=repr),
        "versions": {each["version"]: each for each in head["versions"]},
    }


def _aliases(head: Json) -> dict[str, str]:
    return {each["alias"]: each["version"] for each in head["aliases"]}


def _address(endpoint: Json) -> Json:
    return {key: endpoint.get(key) for key in OF_AN_ADDRESS}


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the server with all it has, or bring the one that came from it up to date.

    Raises ConflictError where the name belongs to another one that isn't equal.
    """
    theirs = record.head["tags"]
    marks = {SOURCE: theirs.get(SOURCE) or job.source, SOURCE_NAME: theirs.get(SOURCE_NAME) or record.id}
    target = _Target(sink, record.id, ids)
    there = _at(sink, record.id)
    if there is None:
        if not job.dry_run:
            sink.mcp.create_server({"name": record.id})
        target.bring(record.head, marks, _NEW, job.dry_run)
        return Written(record.id, "done", losses=tuple(target.losses))
    here = there.head["tags"]
    one = {SOURCE: here.get(SOURCE) or sink.address, SOURCE_NAME: here.get(SOURCE_NAME) or record.id}
    if one == marks and SOURCE not in here:
        return Written(record.id, "skipped", reason="it is the source itself, or what it was made from")
    # One that a killed job made may have no marks yet, and then has nothing else either.
    begun = not here and not there.head["versions"]
    if one != marks and not begun:
        if portable(there) == portable(record):
            return Written(record.id, "same")
        raise ConflictError(
            f"the MCP server {record.name!r} is another one at the destination",
            f"at {sink.address}",
            "delete that one, then type the command again",
        )
    changed = target.bring(record.head, marks, there.head, job.dry_run)
    return Written(record.id, "updated" if changed else "same", losses=tuple(target.losses))


def _at(place: Readable, name: str) -> Record | None:
    head = place.mcp.get_server(name)
    return _record(place, head) if head else None


_NEW: Json = {"tags": {}, "aliases": [], "access_endpoints": [], "versions": [], **dict.fromkeys(OWN)}
"""A server that has nothing yet."""


@dataclass
class _Target:
    """One server of the destination; `losses` is what could not be made there."""

    sink: Live
    name: str
    ids: Ids
    losses: list[Loss] = field(default_factory=list)

    def bring(self, head: Json, marks: dict[str, str], there: Json, rehearsal: bool) -> bool:
        """Bring the server from what is `there` to what `head` says: whether anything had to be done."""
        steps = list(self._steps(head, marks, there))
        if not rehearsal:
            for step in steps:
                step()
        return bool(steps)

    def _steps(self, head: Json, marks: dict[str, str], there: Json) -> Iterator[Step]:
        """Its origin comes first, so that the server is known by that; aliases and addresses need their versions."""
        calls = self.sink.mcp
        for key, value in {**marks, **without_origin(head["tags"])}.items():
            if there["tags"].get(key) != value:
                yield partial(calls.set_server_tag, self.name, key, value)
        own = {key: head[key] for key in OWN if head[key] != there[key]}
        if own:
            yield partial(calls.update_server, self.name, own)
        present = {each["version"]: each for each in there["versions"]}
        for version in head["versions"]:
            yield from self._version(version, present.get(version["version"]))
        here = _aliases(there)
        for alias, number in _aliases(head).items():
            if here.get(alias) != number:
                yield partial(calls.set_alias, self.name, alias, number)
        yield from self._addresses(head["access_endpoints"], there["access_endpoints"])

    def _version(self, wanted: Json, there: Json | None) -> Iterator[Step]:
        number = wanted["version"]
        if there is None:
            yield partial(self._make_version, wanted)
            there = {**wanted, "tags": {}, "status": _first(wanted["status"])}
        if any(wanted[key] != there[key] for key in ("server_json", "source")):
            raise ConflictError(
                f"the MCP server {self.name!r} has another version {number} at the destination",
                f"at {self.sink.address}",
                "delete that server, then type the command again",
            )
        changes = {key: wanted[key] for key in ("tools", "connect_options") if wanted[key] != there[key]}
        if changes:
            yield partial(self.sink.mcp.update_version, self.name, number, changes)
        if there["status"] != wanted["status"]:
            for status in STEPS.get((there["status"], wanted["status"]), (wanted["status"],)):
                yield partial(self.sink.mcp.update_version, self.name, number, {"status": status})
        for key, value in wanted["tags"].items():
            if there["tags"].get(key) != value:
                yield partial(self.sink.mcp.set_version_tag, self.name, number, (key, value))

    def _make_version(self, wanted: Json) -> None:
        body = {key: wanted[key] for key in ("server_json", "source", "tools", "connect_options") if wanted[key]}
        try:
            self.sink.mcp.create_version(self.name, {**body, "status": _first(wanted["status"])})
        except ServerError as error:
            if error.code != TAKEN:
                raise
            raise ConflictError(
                f"version {wanted['version']} of the MCP server {self.name!r} was deleted at the destination",
                "MLflow never makes it again",
                "delete the server there, then type the command again",
            ) from error

    def _addresses(self, wanted: list[Json], there: list[Json]) -> Iterator[Step]:
        """An address has neither tags nor a name: it is known by what it says, or by this job's ledger."""
        free = {each["id"]: each for each in there}
        for each in wanted:
            known = self.ids.earlier(ACCESS, each["id"])
            equal = next((id_ for id_, other in free.items() if _address(other) == _address(each)), None)
            found = free.pop(known if known in free else equal or "", None)
            if found is None:
                yield partial(self._make_address, each, frozenset(other["id"] for other in there))
            elif _address(found) != _address(each):
                fields = {key: value for key, value in _address(each).items() if value is not None}
                yield partial(self.sink.mcp.update_access_endpoint, self.name, found["id"], fields)
                self.ids.put(ACCESS, each["id"], found["id"])

    def _make_address(self, wanted: Json, before: frozenset[str]) -> None:
        body = {key: value for key, value in _address(wanted).items() if value is not None}
        made = self.sink.mcp.create_access_endpoint(self.name, body, lambda: self._made(wanted, before))
        self.ids.put(ACCESS, wanted["id"], made["id"])

    def _made(self, wanted: Json, before: frozenset[str]) -> Json | None:
        here = (self.sink.mcp.get_server(self.name) or {}).get("access_endpoints", ())
        fitting = (each for each in here if each["id"] not in before and _address(each) == _address(wanted))
        return next(fitting, None)


def _first(status: str) -> str:
    """The state in which MLflow makes a version that is to be in this one."""
    return "draft" if status == "draft" else "active"
