"""Access lists: who was given what on one experiment or registered model of a Databricks workspace.

Only what was given on the object itself; what its folder, schema or catalog gives is theirs. Whoever makes a thing gets
all rights on it, so that a destination's list always says more than the source's: what only the destination has is left
alone, and no difference to `verify`. Owners aren't made: that is a matter of its own, and a row says who it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from urllib.parse import quote, unquote

from mlflow_migration.calls import Live, Readable, access_lists
from mlflow_migration.calls.access_lists import BASIC_AUTH, AccessList, AccessListReads, Entry
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import access, access_forms, experiment, giving, grant, kind, registered_model, registry
from mlflow_migration.objects.texts import shared_name
from mlflow_migration.places import PRINCIPAL, Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written

NAME = "access_list"
NEEDS: tuple[str, ...] = (experiment.NAME, registered_model.NAME, "user")
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="1.0",
    carried="who was given what on an experiment or registered model at Databricks (with --permissions), by the same "
    "names or those of --principals; between registries of two forms and basic-auth the nearest lower level",
    kept_beside="nothing: permissions have no tags",
    lost="owners, what is inherited, principals the destination doesn't know (each told)",
)
NEW_IDS = False
validate_row = kind.no_row
link = kind.no_link
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
NO_GROUPS = "MLflow's basic-auth has users only: give it to each of the members"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    access_forms.AccessList.model_validate(head)
    id_ = id_of(head["securable"], head["id"])
    return home(id_), id_


def home(id_: str) -> tuple[str, ...]:
    return ("access_lists", id_)


def id_of(securable: str, thing_id: str) -> str:
    """The kind of what it is about, and its id or name."""
    return f"{securable}/{quote(thing_id, safe='')}"


def with_names(list_id: str, models: Mapping[str, str]) -> str:
    """The id of a list where models have other names."""
    securable, _, quoted = list_id.partition("/")
    name = unquote(quoted)
    return id_of(securable, models.get(name, name)) if securable == registered_model.NAME else list_id


def renamed(record: Record, experiments: Mapping[str, str], models: Mapping[str, str]) -> Record:
    """The list of an experiment or model that has another name: a model is known by it."""
    securable, name = record.head["securable"], record.head["name"]
    if securable == experiment.NAME:
        new = experiments.get(name, name)
        return replace(record, name=new, head={**record.head, "name": new})
    new, list_id = models.get(name, name), with_names(record.id, models)
    head = {**record.head, "id": new, "name": new}
    return replace(record, id=list_id, name=new, home=home(list_id), head=head, refs={securable: new})


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The lists of the selected experiments and models, where they are asked for; each is fetched in its turn."""
    lists = source.access_lists
    if not selection.permissions or lists is None:
        return
    if selection.takes(experiment.NAME):
        for each in experiment.readable(source, selection):
            # Nobody can be given anything on what is in the trash, and a list of it may not be had.
            if each.head.get("lifecycle_stage") != "deleted":
                yield _listed(lists, each)
    if selection.takes(registered_model.NAME):
        for each in registered_model.read(source, selection):
            if each.whole is None:
                yield _listed(lists, each)


def record(source: Readable, list_id: str, selection: Selection) -> Record | None:
    """One list by id, or None."""
    securable, _, quoted = list_id.partition("/")
    thing_id = unquote(quoted)
    if source.access_lists is None or securable not in giving.SECURABLES:
        return None
    found = (experiment if securable == experiment.NAME else registered_model).record(source, thing_id, selection)
    return None if found is None else _fetched(source.access_lists, found)


def _listed(lists: AccessListReads, of: Record) -> Record:
    list_id = id_of(of.kind, of.id)
    return Record(NAME, list_id, of.name, home(list_id), {}, {of.kind: of.id}, whole=partial(_fetched, lists, of))


def _fetched(lists: AccessListReads, of: Record) -> Record:
    found = lists.of_experiment(of.id) if of.kind == experiment.NAME else lists.of_model(of.id)
    if found is None:
        raise NotFoundError(f"{of.kind} {of.id} is gone, and its permissions with it")
    head = {
        "securable": of.kind,
        "id": of.id,
        "name": of.name,
        "dialect": found.dialect,
        "owner": found.owner,
        "entries": [
            {"type": entry.type, "principal": entry.principal, "levels": list(entry.levels)} for entry in found.entries
        ],
    }
    list_id = id_of(of.kind, of.id)
    return Record(NAME, list_id, of.name, home(list_id), head, {of.kind: of.id})


def list_in(head: Json) -> AccessList:
    """The list in a head."""
    entries = (Entry(each["type"], each["principal"], tuple(each["levels"])) for each in head["entries"])
    return AccessList(head["dialect"], tuple(entries), head.get("owner", ""))


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """Those of a bundle, as `read` gives them."""
    for each in records if selection.permissions else ():
        securable, thing_id = each.head["securable"], each.head["id"]
        if not selection.takes(securable):
            continue
        if securable == registered_model.NAME and registry.named(selection.models, thing_id):
            yield each
        chosen = selection.experiments
        if securable == experiment.NAME and (not chosen or experiment.is_named(chosen, thing_id, each.head["name"])):
            yield each


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends: what each principal is allowed, in words both ends share."""
    given: dict[str, dict[str, bool]] = {}
    found = list_in(record.head)
    for entry in found.entries:
        name = (swaps or {}).get(shared_name(PRINCIPAL, entry.principal), entry.principal)
        if name:
            allowed = access_lists.allowed(entry.levels, found.dialect)
            given.setdefault(access_lists.folded(name), {}).update(dict.fromkeys(sorted(allowed), True))
    return {"permissions": given, "tags": {}}


def drop_others(left: Json, right: Json) -> None:
    """Take out of the right what only it gives: whoever makes a thing has all rights on it."""
    right["permissions"] = {
        name: {part: True for part in allowed if part in left["permissions"][name]}
        for name, allowed in right["permissions"].items()
        if name in left["permissions"]
    }


def origin(record: Record) -> str:
    """Of each experiment and model there is one."""
    return next(iter(record.refs))


def swaps_of(record: Record, known: kind.Known) -> dict[str, str]:
    """What turns the source's principals into those of the destination, as the person mapped them."""
    shared = {shared_name(PRINCIPAL, each["principal"]): each["principal"] for each in record.head["entries"]}
    found = {key: known(key) for key in shared}
    return {key: shared[key] if name is None else name for key, name in found.items()}


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Give what the source gave, on the destination's own thing. Raises NotFoundError where that isn't there."""
    head = record.head
    given = list_in(head)
    if sink.access_lists is None:
        return _as_grants(sink, record, ids, job)
    thing = giving.thing_at(sink, head["securable"], head["id"], ids, job)
    result = giving.give(sink, thing, given, ids, job)
    losses = (*result.losses, *_owner(given))
    there_id = id_of(thing.kind, thing.there) if thing.there else ""
    if not result.changed:
        return Written(there_id, "same", losses=losses)
    return Written("" if job.dry_run else there_id, "updated" if result.raised else "done", losses=losses)


def _owner(given: AccessList) -> tuple[Loss, ...]:
    reason = "owning isn't carried: who copies owns the copy, and may transfer it"
    return (Loss("permission", f"owner {given.owner}", reason, wanted=False),) if given.owner else ()


def _as_grants(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """The list as permissions of each user, where the destination has MLflow's basic-auth."""
    given, losses, done = list_in(record.head), [*_owner(list_in(record.head))], 0
    if given.entries and not sink.users.exist():
        return Written("", "unsupported", reason=access.NO_USERS, losses=tuple(losses))
    for entry in given.entries:
        name = job.principals.get(entry.principal, entry.principal)
        if not name:
            losses.append(Loss("permission", entry.principal, giving.NOBODY, wanted=False))
            continue
        found = access_lists.translated(entry.levels, given.dialect, BASIC_AUTH)
        if entry.type in {"group", "service_principal"} and name == entry.principal:
            losses.append(Loss("permission", name, NO_GROUPS))
            continue
        if found.lacking:
            losses.append(Loss("permission", name, f"basic-auth has no word for all of {', '.join(entry.levels)}"))
        for level in found.levels:
            outcome = _granted(sink, (name, record.head, level), ids, job)
            done += outcome.state == "done"
            losses += [Loss("permission", name, outcome.reason)] if outcome.reason else []
    return Written("", "done" if done else "same", losses=tuple(losses))


def _granted(sink: Live, what: tuple[str, Json, str], ids: Ids, job: Writing) -> Written:
    username, head, level = what
    permission = {"resource_type": head["securable"], "resource_pattern": head["id"], "permission": level}
    one = {"username": username, "permission": permission}
    try:
        return grant.write(sink, Record(grant.NAME, grant.id_of(one), username, grant.home(one), one), ids, job)
    except NotFoundError as error:
        return Written("", "unsupported", reason=str(error))
