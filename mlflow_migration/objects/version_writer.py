"""Writing versions of registered models and prompts: under their exact numbers, with files where a registry keeps them.

MLflow gives a new version the number after the highest one a model ever had, deleted ones too. So versions are made in
ascending order, and a number that the source lacks is made and deleted. For that each version of a job waits until the
one before it, and the one it was made from, have ended.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from mlflow_migration.calls import Live
from mlflow_migration.errors import ConflictError, LeftOutError, NotFoundError, ServerError
from mlflow_migration.objects import experiment, held, registry, stages, version_files, version_source
from mlflow_migration.objects.kind import run_at
from mlflow_migration.objects.registry import SOURCE_VERSION, Family, Standing, version_id
from mlflow_migration.objects.sources import Target
from mlflow_migration.objects.sources import marks as source_marks
from mlflow_migration.objects.texts import run_ids_in, swap
from mlflow_migration.objects.versions import NO_STAGE, RUN_TAGS, Queued, origin
from mlflow_migration.places import WORKSPACE, Ids, Writing
from mlflow_migration.records import ORIGIN, File, Json, Loss, Record, Written, pairs_of, tags_of

PLACEHOLDER = ORIGIN + "placeholder"
"""On a version that only takes up a number until it is deleted."""
ADDED_FROM = ORIGIN + "added_from"
"""On a version that was added to a model of the destination's own: place, name and number of the one it came from."""
READY = "READY"
PENDING = "PENDING_REGISTRATION"
ANYWHERE = "s3://mlflow-migration/placeholder"


@dataclass
class Shelf:
    """One destination model with its versions; only one version of a model is written at a time.

    `highest` is the highest number it has given away, None while that isn't known: deleted versions aren't shown.
    """

    name: str
    stands: Standing
    versions: dict[int, Json] = field(default_factory=dict)
    highest: int | None = None

    def past(self, number: int) -> bool:
        """Whether a number that isn't there can't come any more."""
        return max([self.highest or 0, *self.versions]) >= number


def write(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the version under its number, or bring it up to date.

    Raises ConflictError where the number is taken or past, NotFoundError where what it was made of isn't there.
    """

    def ended(id_: str) -> threading.Event:
        return ids.once(f"{family.version} {id_} has ended", threading.Event)

    try:
        # Those before it were handed out before it, so that they are written or being written by now.
        for id_ in record.after if isinstance(record, Queued) else ():
            ended(id_).wait()
        return _write(family, sink, record, ids, job)
    finally:
        ended(record.id).set()


def _write(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    source_name = record.head["name"]
    name = registry.name_at(family, source_name, sink, ids, job)
    if registry.refusal(family, source_name, ids) == registry.LEFT_OUT:
        raise LeftOutError(f"its {family.model} is left out", f"another one has the name {name!r} at {sink.address}")
    stands = ids.once(registry.standing_of(name), registry.unknown)
    if stands is None:
        raise NotFoundError(f"its {family.model} did not arrive", f"{name!r} at {sink.address}")
    shelf = ids.once(f"shelf of {name}", lambda: _shelf(family, sink, name, stands, (ids, job)))
    if job.adding is not None:
        return _add((family, sink), record, shelf, ids, job)
    number = int(record.head["version"])
    there = shelf.versions.get(number)
    if there is not None:
        if _is_half_made(sink, there) and _is_ours(record, there, shelf.stands):
            if job.dry_run:
                return Written("", "updated", losses=_rehearsed(family, sink, record, ids, job))
            return _Maker(family, sink, record, shelf).complete(there, ids, job)
        if _is_ours(record, there, shelf.stands):
            _check_whole(sink, there)
        return _update((family, sink, there), record, shelf, ids, job)
    if shelf.stands.foreign:
        raise ConflictError(f"another model or prompt has the name {name!r}", f"at {sink.address}", experiment.RENAME)
    if job.dry_run:
        if shelf.past(number):
            raise _past(shelf, number)
        return Written("", "done", losses=_rehearsed(family, sink, record, ids, job))
    return _Maker(family, sink, record, shelf).make(ids, job)


def _add(at: tuple[Family, Live], record: Record, shelf: Shelf, ids: Ids, job: Writing) -> Written:
    """Make the version under the next number, once: what came from it is known by a tag."""
    family, sink = at
    maker = _Maker(family, sink, record, shelf, staged=job.adding is not None and job.adding.aliases)
    for there in shelf.versions.values():
        if tags_of(there.get("tags")).get(ADDED_FROM) == _added_from(record, job):
            if _is_half_made(sink, there):
                if job.dry_run:
                    return Written("", "updated", losses=_rehearsed(family, sink, record, ids, job))
                return maker.complete(there, ids, job)
            _check_whole(sink, there)
            return Written(version_id(shelf.name, str(there["version"])), "same")
    if job.dry_run:
        return Written("", "done", losses=_rehearsed(family, sink, record, ids, job))
    return maker.add(ids, job)


def _rehearsed(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> tuple[Loss, ...]:
    """What a rehearsal tells that can't go. Raises what writing would, as far as the files are there already."""
    fit = held.fitted(held.restored(tags_of(record.head.get("tags"))), sink.abilities.registry.tags)
    if sink.abilities.registry.needs_signature and not family.prompts and version_source.has_files(record):
        version_files.check(record, list(record.files()))
    stage = stages.of_version(family, sink, record, ids, job)
    return (*_static_losses(sink, record), *fit.losses, *stage.losses)


def _is_half_made(sink: Live, there: Json) -> bool:
    """Whether a job was cut off between making a version and putting its files there."""
    return sink.abilities.registry.needs_signature and there.get("status") == PENDING


def _check_whole(sink: Live, there: Json) -> None:
    """Raise ConflictError for a version of an earlier job that never got its files. A registry that copies them itself
    doesn't try again, and gives no number twice."""
    status = there.get("status") or READY
    if status == READY or _is_half_made(sink, there):
        return
    raise ConflictError(
        f"version {there['version']} of {there['name']!r} did not become ready",
        str(there.get("status_message") or f"it is {status} at {sink.address}"),
        "type the command again when it is ready" if status == PENDING else _anew(there["name"]),
    )


def _anew(name: str) -> str:
    return f"delete {name!r} at the destination and type the command again"


def _added_from(record: Record, job: Writing) -> str:
    return f"{job.source} {record.id}"


def _past(shelf: Shelf, number: int) -> ConflictError:
    return ConflictError(
        f"version {number} of {shelf.name!r} can't be made any more",
        "the destination has given away higher numbers, and MLflow never goes back",
        f"{_anew(shelf.name)}, or {experiment.RENAME}",
    )


def _shelf(family: Family, sink: Live, name: str, stands: Standing, at: tuple[Ids, Writing]) -> Shelf:
    ids, job = at
    if ids.once(registry.fresh(name), lambda: False):
        return Shelf(name, stands, highest=0)
    shelf = Shelf(name, stands)
    for version in sink.registry.search_versions(family.prompts, name):
        if (stands.ours or stands.joined) and _is_left_over(version, stands):
            if not job.dry_run:
                sink.registry.delete_version(name, version["version"])
        else:
            shelf.versions[int(version["version"])] = version
    return shelf


def _is_left_over(head: Json, stands: Standing) -> bool:
    """Whether a job that was cut off left it: it takes up a number that the source lacks."""
    tags = tags_of(head.get("tags"))
    mark = tags.get(SOURCE_VERSION)
    ours = stands.ours or tags.get(registry.SOURCE) == stands.source
    return PLACEHOLDER in tags or (ours and mark is not None and mark.rpartition("/")[2] != str(head["version"]))


def _is_ours(record: Record, there: Json, stands: Standing) -> bool:
    """Whether a destination's version came from this one. One without a place of its own has its model's."""
    here = tags_of(there.get("tags"))
    if here.get(SOURCE_VERSION) != origin(record):
        return False
    return here[registry.SOURCE] == stands.source if registry.SOURCE in here else stands.ours


def _static_losses(sink: Live, record: Record) -> tuple[Loss, ...]:
    """What no destination, or not this one, can be given."""
    status, losses = record.head.get("status", READY), []
    if status != READY:
        losses.append(Loss("tag", "status", f"a version is always {READY} when it is made, this one is {status}"))
    if sink.abilities.registry.needs_signature and held.run_link_of(record.head):
        losses.append(Loss("link", "run_link", "Unity Catalog has none: it is kept in a tag"))
    return tuple(losses)


def _update(at: tuple[Family, Live, Json], record: Record, shelf: Shelf, ids: Ids, job: Writing) -> Written:
    family, sink, there = at
    id_ = version_id(shelf.name, record.head["version"])
    here = tags_of(there.get("tags"))
    if shelf.stands.shared or (shelf.stands.itself and SOURCE_VERSION not in here):
        return Written(id_, "skipped", reason=registry.ITSELF)
    tags, marks, losses = _tags(sink, record, ids)
    staged = stages.of_version(family, sink, record, ids, job)
    head = record.head
    changed = (head.get("description") or "") != (there.get("description") or "")
    moved = bool(staged.stage) and staged.stage != (there.get("current_stage") or NO_STAGE)
    fixed = [*_unlike(sink, record, there, ids, job), *_static_losses(sink, record), *staged.losses]
    if not _is_ours(record, there, shelf.stands):
        if changed or moved or fixed or held.restored({**tags, **marks}) != held.restored(here):
            raise ConflictError(
                f"another version has the number {head['version']} of {shelf.name!r}",
                f"at {sink.address}",
                experiment.RENAME,
            )
        return Written(id_, "same", losses=tuple(losses))
    wanted = {**tags, **marks, **staged.marks, **_marks(sink, record, ids, job), **_place(shelf)}
    differing = {key: value for key, value in wanted.items() if here.get(key) != value}
    if not job.dry_run:
        if changed:
            sink.registry.update_version(shelf.name, head["version"], head.get("description") or "")
        for pair in differing.items():
            sink.registry.set_version_tag(shelf.name, head["version"], pair)
    if moved and not job.dry_run:
        losses += _stage(sink, shelf.name, head["version"], staged.stage)
    return Written(id_, "updated" if changed or moved or differing else "same", losses=(*fixed, *losses))


def _expected(sink: Live, record: Record, ids: Ids, job: Writing) -> Target:
    try:
        return version_source.find(sink, record, ids, job)
    except NotFoundError:
        # It was made when what it was made of could still be found, or of its own files: nothing can be said against
        # it now.
        return Target("", "")


def _unlike(sink: Live, record: Record, there: Json, ids: Ids, job: Writing) -> Iterator[Loss]:
    """What of an existing version should be another, which no server can change."""
    expected = _expected(sink, record, ids, job)
    yield from expected.losses
    for name, wanted in (("source", expected.source), ("run_id", expected.run_id)):
        has = there.get(name) or ""
        if expected.source and wanted != has:
            yield Loss("link", name, f"the destination has {has!r}, it should be {wanted!r}, and can't be changed")
    links = held.run_link_of(record.head), held.run_link_of(there)
    if expected.source and links[0] != links[1] and not sink.abilities.registry.needs_signature:
        yield Loss("link", "run_link", "the destination has another one, which can't be changed")


def _stage(sink: Live, name: str, version: str, stage: str) -> list[Loss]:
    try:
        sink.registry.set_stage(name, version, stage)
    except ServerError as error:
        return [Loss("tag", "stage", error.why)]
    return []


def _marks(sink: Live, record: Record, ids: Ids, job: Writing) -> dict[str, str]:
    kept = {**registry.kept(record.head), **registry.lineage(record.head, job)}
    return {
        SOURCE_VERSION: origin(record),
        **kept,
        **source_marks(sink, record, ids, job),
        **_ties(sink, record, ids, job),
    }


def _ties(sink: Live, record: Record, ids: Ids, job: Writing) -> dict[str, str]:
    """Where Unity Catalog can't be told the run: tags that tell it."""
    if not sink.abilities.registry.needs_signature:
        return {}
    found = {
        held.RUN: version_source.loose_run(sink, record, ids, job),
        held.RUN_LINK: held.run_link_of(record.head),
    }
    return {key: value for key, value in found.items() if value}


def _place(shelf: Shelf) -> dict[str, str]:
    """Where a version came from, on one that is added to another model: the model tells it of its own."""
    return {registry.SOURCE: shelf.stands.source} if shelf.stands.joined else {}


def _tags(sink: Live, record: Record, ids: Ids) -> tuple[dict[str, str], dict[str, str], list[Loss]]:
    """The tags as they are to stand at the destination, the origin tags that keep those it doesn't take, and the links
    that can't be tied there."""
    tags = held.restored(tags_of(record.head.get("tags")))
    losses = []
    for key in tags.keys() & RUN_TAGS:
        found = {id_: run_at(ids, id_) for id_ in run_ids_in(tags[key])}
        tags[key] = swap(tags[key], {old: new for old, new in found.items() if new})
        losses += [Loss("link", key, f"run {id_} is not at the destination") for id_, new in found.items() if not new]
    fit = held.fitted(tags, sink.abilities.registry.tags)
    return fit.tags, fit.held, [*losses, *fit.losses]


@dataclass(frozen=True)
class _Plan:
    """A version about to be made: the request's body, its files, its stage, and what can't go."""

    body: Json
    files: list[File]
    stage: str
    losses: tuple[Loss, ...]


@dataclass(frozen=True)
class _Maker:
    """Makes one version under its number."""

    family: Family
    sink: Live
    record: Record
    shelf: Shelf
    staged: bool = True

    def make(self, ids: Ids, job: Writing) -> Written:
        number = int(self.record.head["version"])
        if self.shelf.past(number):
            raise _past(self.shelf, number)
        plan = self._plan(ids, job, {**_marks(self.sink, self.record, ids, job), **_place(self.shelf)})
        while self.shelf.highest is None or self.shelf.highest < number:
            # Until it is known which number comes next, the version itself is made, as the number may be the right one.
            whole = self.shelf.highest is None or self.shelf.highest + 1 == number
            made = self._create(plan.body if whole else self._filler(plan.body))
            self.shelf.highest = int(made["version"])
            if whole and self.shelf.highest == number:
                return self._whole(made, plan, job)
            self.sink.registry.delete_version(self.shelf.name, made["version"])
        twin = self.sink.registry.get_version(self.shelf.name, str(number))
        if twin is not None and tags_of(twin.get("tags")).get(SOURCE_VERSION) == origin(self.record):
            # A network delivered the request twice: the first one made the version, the answer was the second one's.
            return self._whole(twin, plan, job)
        raise _past(self.shelf, number)

    def add(self, ids: Ids, job: Writing) -> Written:
        """Make it under whatever number comes next."""
        plan = self._plan(ids, job, self._added(ids, job))
        return self._whole(self._create(plan.body), plan, job)

    def complete(self, there: Json, ids: Ids, job: Writing) -> Written:
        """End what an earlier job began: the number stays, as it can't be given away twice."""
        marks = self._added(ids, job) if job.adding is not None else _marks(self.sink, self.record, ids, job)
        plan = self._plan(ids, job, {**marks, **_place(self.shelf)})
        return self._whole(there, plan, replace(job, checksum=True))

    def _added(self, ids: Ids, job: Writing) -> dict[str, str]:
        return {
            **registry.lineage(self.record.head, job),
            ADDED_FROM: _added_from(self.record, job),
            **_ties(self.sink, self.record, ids, job),
        }

    def _plan(self, ids: Ids, job: Writing, marks: dict[str, str]) -> _Plan:
        """All that is needed, before anything is made: a version that can't be whole isn't begun."""
        target = version_source.settle(self.sink, self.record, ids, job)
        files: list[File] = []
        if self.sink.abilities.registry.needs_signature and not self.family.prompts:
            files = version_files.gather(self.sink, self.record, target, ids)
        tags, unfit, losses = _tags(self.sink, self.record, ids)
        staged = stages.OfVersion("")
        if self.staged:
            staged = stages.of_version(self.family, self.sink, self.record, ids, job)
        body = self._body(target, {**tags, **unfit, **staged.marks, **marks})
        every = (*_static_losses(self.sink, self.record), *target.losses, *losses, *staged.losses)
        return _Plan(body, files, staged.stage, every)

    def _whole(self, made: Json, plan: _Plan, job: Writing) -> Written:
        losses, size = plan.losses, 0
        if plan.files:
            losses += version_files.upload(self.sink, made, plan.files, job.checksum)
            size = sum(file.size for file in plan.files if not file.problem)
        self.shelf.versions[int(made["version"])] = made
        if plan.stage not in {"", NO_STAGE}:
            losses = (*losses, *_stage(self.sink, self.shelf.name, made["version"], plan.stage))
        return Written(version_id(self.shelf.name, made["version"]), "done", losses=losses, bytes=size)

    def _body(self, target: Target, tags: dict[str, str]) -> Json:
        head = self.record.head
        fields = {
            "run_id": target.run_id,
            "model_id": target.model_id,
            "run_link": held.run_link_of(head),
            "description": head.get("description"),
        }
        body = {"name": self.shelf.name, "source": target.source, "tags": pairs_of(tags)}
        return {**body, **{key: value for key, value in fields.items() if value}}

    def _filler(self, body: Json) -> Json:
        """A version that only takes up a number. A prompt's has to look like one."""
        prompt = registry.is_prompt(body)
        kept = [tag for tag in body["tags"] if tag["key"] == registry.IS_PROMPT]
        mark = {"key": PLACEHOLDER, "value": "true"}
        local = prompt or self.sink.abilities.registry.dialect == WORKSPACE
        return {"name": body["name"], "source": body["source"] if local else ANYWHERE, "tags": [*kept, mark]}

    def _create(self, body: Json) -> Json:
        tags = tags_of(body["tags"])
        key = next(key for key in (PLACEHOLDER, ADDED_FROM, SOURCE_VERSION) if key in tags)
        return self.sink.registry.create_version(body, (key, tags[key]))
