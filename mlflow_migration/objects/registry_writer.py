"""Writing registered models and prompts: under their own names, or as somebody else's that versions are added to."""

from __future__ import annotations

from dataclasses import replace

from mlflow_migration.calls import Live
from mlflow_migration.errors import ConflictError, LeftOutError, NotFoundError, ServerError
from mlflow_migration.objects import experiment, held, stages
from mlflow_migration.objects.experiment import RENAME
from mlflow_migration.objects.kind import is_left_out
from mlflow_migration.objects.registry import (
    EXPERIMENTS,
    FAMILIES,
    ITSELF,
    LEFT_OUT,
    REFUSED,
    SOURCE,
    SOURCE_NAME,
    TAKEN,
    Family,
    Standing,
    aliases,
    by_origin,
    experiment_ids_in,
    fresh,
    hold_of,
    kept,
    lineage,
    name_key,
    origin,
    refusal_key,
    root_of,
    standing,
    standing_of,
    version_id,
)
from mlflow_migration.places import FAIL, NEW_NAME, SKIP, Adding, Ids, Writing, free_name
from mlflow_migration.records import (
    Json,
    Loss,
    Record,
    Written,
    tags_of,
)


def write(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the model, or bring the one of that name up to date; aliases are left for the second pass.

    Raises ConflictError where the name belongs to another model that isn't equal, or whatever the person chose.
    """
    if job.adding is not None:
        return _add_to(family, sink, record, ids, (job, job.adding))
    try:
        name, head = _find(family, sink, record, ids, job)
        return _write(family, (sink, name, head), record, ids, job)
    except (ConflictError, LeftOutError) as error:
        word = LEFT_OUT if isinstance(error, LeftOutError) else REFUSED
        ids.once(refusal_key(family, record.id), lambda: word)
        raise


def _find(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> tuple[str, Json | None]:
    """The name the model is to have at the destination, and what has it there already."""
    name = job.names.of(family.model, record.id)
    head = sink.registry.get_model(name)
    if head is not None and family.model in job.replace and family.takes(head):
        head = _cleared(sink, head, record, job)
    foreign = head is not None and (not family.takes(head) or standing(head, record, sink, job).foreign)
    if head is not None and foreign and job.on_conflict == FAIL:
        raise ConflictError(f"another model or prompt has the name {name!r}", f"at {sink.address}", RENAME)
    if head is not None and foreign and job.on_conflict == SKIP:
        raise LeftOutError(f"another model or prompt has the name {name!r}", f"at {sink.address}")
    if job.on_conflict == NEW_NAME and (head is None or foreign):
        known = by_origin(family, sink, ids).get(root_of(record, job.source))
        if known:
            name, head = known, sink.registry.get_model(known)
        elif head is not None:
            form = "{}_{}" if sink.abilities.registry.three_levels else "{} ({})"
            name, head = free_name(name, lambda text: sink.registry.get_model(text) is None, form), None
    return ids.once(name_key(family, record.id), lambda: name), head


def _write(family: Family, there: tuple[Live, str, Json | None], record: Record, ids: Ids, job: Writing) -> Written:
    sink, name, head = there
    tags, held_back, losses = _tags(sink, record, ids, job)
    theirs = tags_of(record.head.get("tags"))
    marks = {SOURCE: theirs.get(SOURCE) or job.source, SOURCE_NAME: origin(record), **kept(record.head)}
    marks.update(lineage(record.head, job))
    fit = stages.of_model(family, sink, record, ids, job)
    record = fit.record
    marks.update({**held_back, **fit.marks})
    losses += (*fit.losses, *_lowered(record, job))
    if head is None and not job.dry_run:
        head = _create(sink, name, record.head.get("description") or "", {**tags, **marks})
    ids.once(fresh(name), lambda: head is None)
    if head is None:
        ids.once(standing_of(name), lambda: Standing(ours=True, itself=False, source=marks[SOURCE]))
        return Written(
            "" if job.dry_run else name,
            "done",
            losses=losses,
            link=_todo(family, name, record, aliases(record.head), job),
        )
    found = head
    written = _update(family, sink, replace(record, name=name), (tags, marks, losses), (head, job))
    ids.once(standing_of(name), lambda: standing(found, record, sink, job))
    return written


def _cleared(sink: Live, head: Json, record: Record, job: Writing) -> Json | None:
    """None once the destination's model is deleted with its versions; the model where it is the source itself."""
    if standing(head, record, sink, job).itself:
        return head
    if not job.dry_run:
        sink.registry.delete_model(head["name"])
    return None


def _add_to(family: Family, sink: Live, record: Record, ids: Ids, how: tuple[Writing, Adding]) -> Written:
    """See to it that there is a model to add versions to, under the record's name; it stays the destination's own."""
    job, adding = how
    fit = stages.of_model(family, sink, record, ids, job) if adding.aliases else stages.OfModel(record)
    record = replace(fit.record, name=job.names.of(family.model, record.id))
    head = sink.registry.get_model(record.name)
    if head is not None and not family.takes(head):
        raise ConflictError(f"a prompt or model of another kind has the name {record.name!r}", f"at {sink.address}")
    if head is None and not adding.create:
        raise NotFoundError(f"no such {family.model}: {record.name!r}", f"--create-model makes it at {sink.address}")
    tags, held_back, losses = _tags(sink, record, ids, job) if adding.metadata else ({}, {}, ())
    tags.update(held_back)
    losses += fit.losses
    description = (record.head.get("description") or "") if adding.metadata else (head or {}).get("description") or ""
    here = tags_of(head.get("tags")) if head else {}
    differing = {key: value for key, value in tags.items() if here.get(key) != value}
    described = head is not None and description != (head.get("description") or "")
    if not job.dry_run and head is None:
        _create(sink, record.name, description, tags)
    elif not job.dry_run:
        if described:
            sink.registry.update_model(record.name, description)
        for key, value in differing.items():
            sink.registry.set_model_tag(record.name, key, value)
    ids.once(standing_of(record.name), lambda: Standing(ours=False, itself=False))
    wanted = aliases(record.head) if adding.aliases else {}
    state = "done" if head is None else "updated" if described or differing else "same"
    todo = _todo(family, record.name, record, wanted, job if adding.aliases else None)
    return Written("" if job.dry_run and head is None else record.name, state, losses=losses, link=todo)


def _create(sink: Live, name: str, description: str, tags: dict[str, str]) -> Json | None:
    """None when it was made; the destination's model when another writer was faster."""
    try:
        sink.registry.create_model(name, description, tags)
    except ServerError as error:
        found = sink.registry.get_model(name) if error.code == TAKEN else None
        if found is None:
            raise
        return found
    return None


def _update(
    family: Family,
    sink: Live,
    record: Record,
    wanted: tuple[dict[str, str], dict[str, str], tuple[Loss, ...]],
    there: tuple[Json, Writing],
) -> Written:
    (tags, marks, losses), (head, job) = wanted, there
    here, description = tags_of(head.get("tags")), record.head.get("description") or ""
    stands = standing(head, record, sink, job)
    if stands.itself and family.takes(head):
        return Written(record.name, "skipped", reason=ITSELF)
    if stands.joined and family.takes(head):
        return _join(family, sink, record, wanted, there)
    changed = description != (head.get("description") or "")
    missing = {alias: n for alias, n in aliases(record.head).items() if aliases(head).get(alias) != n}
    if not stands.ours:
        if changed or missing or held.restored({**tags, **marks}) != held.restored(here) or not family.takes(head):
            raise ConflictError(f"another model or prompt has the name {record.name!r}", f"at {sink.address}", RENAME)
        return Written(record.name, "same", losses=losses)
    differing = {key: value for key, value in {**tags, **marks}.items() if here.get(key) != value}
    if not job.dry_run:
        if changed:
            sink.registry.update_model(record.name, description)
        for key, value in differing.items():
            sink.registry.set_model_tag(record.name, key, value)
    state = "updated" if changed or differing or missing else "same"
    return Written(record.name, state, losses=losses, link=_todo(family, record.name, record, missing, job))


def _join(
    family: Family,
    sink: Live,
    record: Record,
    wanted: tuple[dict[str, str], dict[str, str], tuple[Loss, ...]],
    there: tuple[Json, Writing],
) -> Written:
    """Add to a model that is not the source's: what it lacks is added, and nothing overwritten or claimed."""
    (tags, marks, losses), (head, job) = wanted, there
    here, pointing = tags_of(head.get("tags")), aliases(head)
    description, other = record.head.get("description") or "", head.get("description") or ""
    root = (marks[SOURCE], marks[SOURCE_NAME])
    adding = {key: value for key, value in {**tags, hold_of(root): " ".join(root)}.items() if key not in here}
    tied = experiment_ids_in(here.get(EXPERIMENTS, ""))
    more = set(experiment_ids_in(tags.get(EXPERIMENTS, ""))) - set(tied)
    if EXPERIMENTS in here and more:
        adding[EXPERIMENTS] = f",{','.join([*tied, *sorted(more)])},"
    kept = [key for key, value in tags.items() if key in here and here[key] != value and key != EXPERIMENTS]
    kept += ["description"] if description and other and description != other else []
    reason = f"{record.name!r} at the destination has another value, which is kept"
    losses += tuple(Loss("tag", key, reason) for key in kept)
    wanting = {alias: n for alias, n in aliases(record.head).items() if alias not in pointing}
    losses += tuple(
        Loss("link", f"alias {alias}", f"at the destination it points to version {pointing[alias]}, which is kept")
        for alias, n in aliases(record.head).items()
        if pointing.get(alias, n) != n
    )
    if not job.dry_run:
        if description and not other:
            sink.registry.update_model(record.name, description)
        for key, value in adding.items():
            sink.registry.set_model_tag(record.name, key, value)
    state = "updated" if adding or wanting or (description and not other) else "same"
    return Written(record.name, state, losses=losses, link=_todo(family, record.name, record, wanting, job))


def _todo(family: Family, name: str, record: Record, missing: dict[str, str], job: Writing | None) -> Json | None:
    todo: Json = {"name": name, "kind": family.version, "source": record.id, "aliases": missing}
    if job is not None and job.stages_to_aliases:
        return {**todo, "family": family.model, "own": list(aliases(record.head))}
    return todo if missing else None


def link(sink: Live, written_id: str, todo: Json, ids: Ids) -> list[Loss]:
    """Point the aliases at the versions, which arrived after the model."""
    wanted, losses = _wanted(sink, todo, ids)
    here = aliases(sink.registry.get_model(todo["name"]) or {}) if wanted else {}
    for alias, version in wanted.items():
        there = ids.get(todo["kind"], version_id(todo["source"], version))
        if not there:
            losses.append(Loss("link", f"alias {alias}", f"version {version} is not at the destination"))
            continue
        number = there.rpartition("/")[2]
        try:
            if here.get(alias) != number:
                sink.registry.set_alias(todo["name"], alias, number)
        except ServerError as error:
            losses.append(Loss("link", f"alias {alias}", error.why))
    return losses


def _wanted(sink: Live, todo: Json, ids: Ids) -> tuple[dict[str, str], list[Loss]]:
    """The aliases to set, those too that stages become: of several versions in one stage the newest has it."""
    wanted: dict[str, str] = dict(todo["aliases"])
    losses: list[Loss] = []
    if "own" not in todo or sink.abilities.registry.stages:
        return wanted, losses
    for alias, numbers in stages.by_stage(FAMILIES[todo["family"]], todo["source"], ids).items():
        newest = max(numbers, key=int)
        taken = alias in todo["own"]
        if not taken:
            wanted[alias] = newest
        why = "the source has an alias of this name" if taken else f"version {newest} of the same stage is newer"
        left = [number for number in numbers if taken or number != newest]
        losses += [Loss("link", f"alias {alias} of version {number}", f"{why}: it keeps it") for number in left]
    return wanted, losses


def _lowered(record: Record, job: Writing) -> tuple[Loss, ...]:
    """What is told of a name that a registry has in lower case alone."""
    asked = replace(job.names, lower=False).of(record.kind, record.id)
    there = job.names.of(record.kind, record.id)
    return () if asked == there else (Loss("name", asked, f"Unity Catalog has names in lower case alone: {there}"),)


def _tags(
    sink: Live, record: Record, ids: Ids, job: Writing
) -> tuple[dict[str, str], dict[str, str], tuple[Loss, ...]]:
    """The tags as they are to stand at the destination, the origin tags that keep those it doesn't take, and what
    can't go."""
    tags, losses = _tied(record, ids, job)
    fit = held.fitted(tags, sink.abilities.registry.tags)
    return fit.tags, fit.held, (*losses, *fit.losses)


def _tied(record: Record, ids: Ids, job: Writing) -> tuple[dict[str, str], tuple[Loss, ...]]:
    """The tags with the destination's experiments in them, and the links that can't be tied there."""
    tags = held.restored(tags_of(record.head.get("tags")))
    if EXPERIMENTS not in tags or job.dry_run:
        return tags, ()
    found, losses = [], []
    for id_ in experiment_ids_in(tags[EXPERIMENTS]):
        there = ids.get(experiment.NAME, id_) or (ids.find_experiment(job.source, id_) or {}).get("experiment_id")
        if there:
            found.append(there)
        else:
            wanted = not is_left_out(ids, id_)
            losses.append(Loss("link", EXPERIMENTS, f"experiment {id_} is not at the destination", wanted))
    tags[EXPERIMENTS] = f",{','.join(found)}," if found else ""
    return tags, tuple(losses)
