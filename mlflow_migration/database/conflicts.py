"""Which experiment or model of a database a source's is: the same one, one of its own that has the place, or none.

An experiment is known by its number and the time it was made, or by the origin tags it was given with another number; a
model or prompt by its name and the time it was made, or by such tags. Nothing of the database's own is overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_migration.database.made import Values, number
from mlflow_migration.database.writing import Writer
from mlflow_migration.errors import ConflictError, LeftOutError
from mlflow_migration.places import FAIL, NEW_NAME, SKIP, UPDATE, Writing, free_name
from mlflow_migration.records import ORIGIN, Json, Record, digest_of, tags_of

SOURCE = ORIGIN + "source"
EXPERIMENT_ID, EXPERIMENT_NAME = ORIGIN + "experiment_id", ORIGIN + "experiment_name"
MODEL_NAME, MODEL_VERSION = ORIGIN + "model_name", ORIGIN + "model_version"
HOLDS = ORIGIN + "holds."
DEFAULT = "0"
LARGEST_ID = (1 << 31) - 1
"""The numbers of experiments are 32 bits wide in MLflow's tables; those of Databricks are longer."""
HINT = "choose with --on-conflict new-name, skip or update, or give it another name with --rename"
IS_PROMPT = "mlflow.prompt.is_prompt"


@dataclass(frozen=True)
class Chosen:
    """What is to be written to. `joins`: it is the database's own, which is added to and not overwritten.

    `marks` are the origin tags by which a later job finds it again. `location` is None for a new experiment.
    """

    id: int
    name: str
    joins: bool = False
    marks: Json | None = None
    location: str | None = None


class Experiments:
    """The experiments of a database, looked at once for each that comes. `highest` is the source's highest number."""

    def __init__(self, writer: Writer, job: Writing, workspace: str, highest: int) -> None:
        self._writer, self._job, self._workspace = writer, job, workspace
        columns = ("experiment_id", "name", "workspace", "creation_time", "artifact_location", "lifecycle_stage")
        found = writer.select("experiments", columns)
        self._rows: dict[int, Values] = {row["experiment_id"]: row for row in found}
        self._names = {row["name"]: row["experiment_id"] for row in found if row["workspace"] == workspace}
        self._next = max([highest, *self._rows, 0]) + 1
        marks: dict[int, dict[str, str]] = {}
        for row in writer.select("experiment_tags", ("experiment_id", "key", "value"), key=[SOURCE, EXPERIMENT_ID]):
            marks.setdefault(row["experiment_id"], {})[row["key"]] = row["value"]
        self._by_origin = {
            (tags.get(SOURCE, ""), tags[EXPERIMENT_ID]): id_ for id_, tags in marks.items() if EXPERIMENT_ID in tags
        }

    def choose(self, record: Record) -> Chosen:
        """Raises ConflictError or LeftOutError where another one has its number or name, and the person chose so."""
        name = self._job.names.of("experiment", record.name)
        mine = self._mine(record, name)
        if mine is not None:
            return self._same(record, mine, name)
        by_name = self._named(name)
        own_number = int(record.id) if record.id.isdigit() and int(record.id) <= LARGEST_ID else None
        taken = own_number is not None and own_number in self._rows
        if record.id == DEFAULT and taken:
            row = self._rows[0]
            return Chosen(0, row["name"], joins=True, location=row["artifact_location"])
        policy = UPDATE if self._job.names.into else self._job.on_conflict
        if by_name is not None or taken:
            self._refuse(policy, record, by_name)
        if by_name is not None and policy == UPDATE:
            return self._joined(by_name, record)
        if by_name is not None:
            name = free_name(name, lambda text: self._named(text) is None)
        if own_number is None or taken:
            id_, self._next = self._next, self._next + 1
        else:
            id_ = own_number
        is_other = id_ != own_number or by_name is not None
        return Chosen(id_, name, marks=self._marks(record) if is_other else None)

    def made(self, chosen: Chosen, location: str, creation_time: int | None) -> None:
        """Note an experiment that has been written."""
        before = self._rows.get(chosen.id)
        if before is not None and before["name"] != chosen.name:
            self._names.pop(before["name"], None)
        self._names[chosen.name] = chosen.id
        self._rows[chosen.id] = {
            "experiment_id": chosen.id,
            "name": chosen.name,
            "workspace": self._workspace,
            "creation_time": creation_time,
            "artifact_location": location,
            "lifecycle_stage": "active",
        }

    def _mine(self, record: Record, name: str) -> Values | None:
        """The database's experiment that is this very one."""
        id_ = self._by_origin.get((self._job.source, record.id))
        if id_ is not None:
            return self._rows.get(id_)
        row = self._rows.get(int(record.id)) if record.id.isdigit() else None
        if row is None or row["workspace"] != self._workspace:
            return None
        time = number(record.head.get("creation_time"))
        is_same = row["creation_time"] == time if time else row["name"] == name
        return row if is_same or (record.id == DEFAULT and self._is_untouched()) else None

    def _is_untouched(self) -> bool:
        """Whether the experiment that every MLflow begins with has nothing in it."""
        return not any(
            self._writer.select(table, ("experiment_id",), experiment_id=0)[:1]
            for table in ("runs", "experiment_tags", "logged_models", "trace_info")
        )

    def _same(self, record: Record, row: Values, name: str) -> Chosen:
        other = self._named(name)
        if other is not None and other["experiment_id"] != row["experiment_id"]:
            # It was given another name since, or for the time being: that of somebody else's is not taken.
            name = row["name"]
        is_other = str(row["experiment_id"]) != record.id
        if is_other and self._job.on_conflict == NEW_NAME and row["name"].startswith(f"{name} ("):
            name = row["name"]
        marks = self._marks(record) if is_other else None
        return Chosen(row["experiment_id"], name, marks=marks, location=row["artifact_location"])

    def _named(self, name: str) -> Values | None:
        id_ = self._names.get(name)
        return None if id_ is None else self._rows[id_]

    def _refuse(self, policy: str, record: Record, by_name: Values | None) -> None:
        what = f"another experiment has the {'name' if by_name is not None else 'number'} "
        what += repr(by_name["name"]) if by_name is not None else record.id
        if policy == SKIP:
            raise LeftOutError(what)
        if policy in {"", FAIL}:
            raise ConflictError(what, "in the database", HINT)

    def _joined(self, row: Values, record: Record) -> Chosen:
        if row["lifecycle_stage"] == "deleted":
            raise ConflictError(f"a deleted experiment holds the name {row['name']!r}", "in the database", HINT)
        hold = {f"{HOLDS}{record.id}.{digest_of(self._job.source)[:16]}": self._job.source}
        return Chosen(row["experiment_id"], row["name"], True, hold, row["artifact_location"])

    def _marks(self, record: Record) -> Json:
        return {EXPERIMENT_ID: record.id, SOURCE: self._job.source, EXPERIMENT_NAME: record.name}


def choose_model(writer: Writer, job: Writing, workspace: str, record: Record) -> Chosen:
    """The name of a model or prompt at the database. Raises ConflictError or LeftOutError as for experiments."""
    name = job.names.of(record.kind, record.id)
    row = _model(writer, workspace, name)
    if row is None or _is_same(writer, job, record, row):
        return Chosen(0, name)
    what = f"another model or prompt has the name {name!r}"
    is_alike = _is_prompt(row["tags"]) == _is_prompt(tags_of(record.head.get("tags")))
    if job.on_conflict == SKIP:
        raise LeftOutError(what)
    if job.on_conflict in {"", FAIL} or (job.on_conflict == UPDATE and not is_alike):
        raise ConflictError(what, "in the database", HINT)
    if job.on_conflict == UPDATE:
        return Chosen(0, name, joins=True)
    marks = {SOURCE: job.source, MODEL_NAME: record.id}
    for known in writer.select(
        "registered_model_tags", ("name",), workspace=workspace, key=MODEL_NAME, value=record.id
    ):
        found = _model(writer, workspace, known["name"])
        if found is not None and found["tags"].get(SOURCE) == job.source:
            return Chosen(0, known["name"], marks=marks)
    return Chosen(0, free_name(name, lambda text: _model(writer, workspace, text) is None), marks=marks)


def _model(writer: Writer, workspace: str, name: str) -> Values | None:
    found = writer.select("registered_models", ("creation_time",), workspace=workspace, name=name)
    if not found:
        return None
    tags = writer.select("registered_model_tags", ("key", "value"), workspace=workspace, name=name)
    return {"creation_time": found[0]["creation_time"], "tags": {each["key"]: each["value"] for each in tags}}


def _is_same(writer: Writer, job: Writing, record: Record, row: Values) -> bool:
    if _is_prompt(row["tags"]) != _is_prompt(tags_of(record.head.get("tags"))):
        return False
    if row["tags"].get(SOURCE) == job.source and row["tags"].get(MODEL_NAME) == record.id:
        return True
    time = number(record.head.get("creation_timestamp"))
    return not time or row["creation_time"] == time


def _is_prompt(tags: Json) -> bool:
    return str(tags.get(IS_PROMPT, "")).lower() == "true"


def check_version(writer: Writer, record: Record, workspace: str, name: str) -> None:
    """Raise ConflictError where another version has the number."""
    where: Json = {"workspace": workspace, "name": name, "version": int(record.head["version"])}
    found = writer.select("model_versions", ("creation_time",), **where)
    time = number(record.head.get("creation_timestamp"))
    if not found or not time or found[0]["creation_time"] == time:
        return
    marks = writer.select("model_version_tags", ("value",), key=MODEL_VERSION, **where)
    if [mark["value"] for mark in marks] != [record.id]:
        raise ConflictError(
            f"another version has the number {where['version']} of {name!r}",
            "in the database",
            "give the model another name with --rename",
        )
