"""A place as it is compared with another one: databases, and bundles made from them, hold what no server ever shows;
some registries keep the files of a version, which elsewhere are those of what it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from mlflow_migration.objects import logged_model, model_links, run, sources, trace, trace_head, version_files
from mlflow_migration.places import Selection, Source
from mlflow_migration.records import File, Json, Record


def beside(place: Source, other: Source) -> Source:
    """A place as it is to be compared with another one."""
    found: Source = AsServersShow(place) if place.shows_all and not other.shows_all else place
    return WithVersionFiles(found) if other.keeps_version_files and not place.keeps_version_files else found


class AsServersShow:
    """Implements `Source`."""

    shows_all = False

    def __init__(self, source: Source) -> None:
        self.address = source.address
        self.keeps_version_files = source.keeps_version_files
        self._source = source

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """The objects of a kind that a server would show."""
        return (
            _shown(record) for record in self._source.records(kind, selection) if not logged_model.is_unseen(record)
        )

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        found = self._source.record(kind, record_id, selection)
        return None if found is None else _shown(found)


def _shown(record: Record) -> Record:
    return replace(record, head=trace_head.as_shown(record.head)) if record.kind == trace.NAME else record


class WithVersionFiles:
    """A place whose versions show the files of what they were made of. Implements `Source`."""

    keeps_version_files = True

    def __init__(self, source: Source) -> None:
        self.address = source.address
        self.shows_all = source.shows_all
        self._source = source

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """The objects of a kind."""
        return (self._filed(record, selection) for record in self._source.records(kind, selection))

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        found = self._source.record(kind, record_id, selection)
        return None if found is None else self._filed(found, selection)

    def _filed(self, record: Record, selection: Selection) -> Record:
        if record.kind != version_files.KIND:
            return record
        return replace(record, files=partial(selection.files_of, partial(self._made_of, record.head)))

    def _made_of(self, head: Json) -> Iterator[File]:
        """The files of the run or logged model a version was made of, as the place itself has them."""
        address = sources.address_of(head)
        owner, folder = None, address.rest.strip("/")
        if address.kind == sources.VERSION:
            number = address.root.rpartition("/")[2]
            found = self._source.record(version_files.KIND, f"{address.id}/{number}", Selection())
            yield from self._made_of(found.head) if found else ()
            return
        if address.kind == sources.LOGGED_MODEL:
            owner = self._source.record(logged_model.NAME, address.id, Selection())
        elif address.kind == sources.RUN:
            owner, folder = self._of_run(address.id, folder)
        prefix = f"{folder}/" if folder else ""
        for file in owner.files() if owner else ():
            if file.path.startswith(prefix) and file.path.rpartition("/")[2] != version_files.STRAY:
                yield replace(file, path=file.path.removeprefix(prefix))

    def _of_run(self, run_id: str, folder: str) -> tuple[Record | None, str]:
        """A run, or the logged model beside it that has the folder's name, and the folder below it."""
        found = self._source.record(run.NAME, run_id, Selection())
        name, _, rest = folder.partition("/")
        links = (model_links.links_of(found.head) if found else None) or {"outputs": []}
        for model_id, _ in links["outputs"]:
            model = self._source.record(logged_model.NAME, model_id, Selection())
            if model is not None and model.name == name:
                return model, rest
        return found, folder
