"""A record as rows, with what of it depends on what a database holds: names, scorers, secrets, runs that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mlflow_migration.database import conflicts, gateway_rows, registry_rows, review_rows, run_rows, trace_rows
from mlflow_migration.database.made import Guess, Made, Values
from mlflow_migration.database.settled import Settled
from mlflow_migration.database.writing import Writer
from mlflow_migration.errors import ConflictError, LeftOutError, MigrationError, NotFoundError
from mlflow_migration.places import Writing
from mlflow_migration.records import Loss, Record, Written

OF_A_DATASET = ("dataset_source_type", "dataset_source", "dataset_schema", "dataset_profile")
PLAIN: dict[str, Callable[[Record, Settled], Made]] = {
    "webhook": registry_rows.webhook,
    "review_queue": review_rows.queue,
    "evaluation_dataset": review_rows.dataset,
}
"""What depends on nothing but itself."""


@dataclass
class Shaper:
    """Makes rows of records, in one transaction. `made` are the kinds and ids of what this job has written, which a
    rehearsal would look for in vain; `address` is the database's, for people."""

    writer: Writer
    settled: Settled
    job: Writing
    address: str
    made: set[tuple[str, str]] = field(default_factory=set)

    def rows(self, record: Record, address: str | None) -> Made:
        """An object as rows, or why it isn't written; `address` is where its artifacts lie, None for the usual place.

        Raises ConflictError, LeftOutError or NotFoundError where it can't be written.
        """
        kind = record.kind
        if kind in PLAIN:
            self.settled.names[kind, record.name] = self.job.names.of(kind, record.name)
            return PLAIN[kind](record, self.settled)
        if kind.startswith("gateway_"):
            return self._gateway(record)
        ways: dict[str, Callable[[], Made]] = {
            "run": lambda: self._run(record, address),
            "logged_model": lambda: self._logged_model(record, address),
            "trace": lambda: trace_rows.trace(record, self.settled, address),
            "registered_model": lambda: self._model(record),
            "prompt": lambda: self._model(record),
            "model_version": lambda: self._version(record),
            "prompt_version": lambda: self._version(record),
            "issue": lambda: self._issue(record),
            "scorer": lambda: self._scorer(record),
            "label_schema": lambda: self._label_schema(record),
            "mcp_server": lambda: self._mcp_server(record),
            "workspace": lambda: self._workspace(record),
        }
        return ways[kind]()

    def _run(self, record: Record, address: str | None) -> Made:
        made = run_rows.run(record, self.settled, address)
        if not self.job.source_user:
            made.rows["runs"][0]["user_id"] = ""
        if made.rows["datasets"] and made.rows["runs"][0]["experiment_id"] in self.settled.joined:
            made.losses += self._other_datasets(made.rows["datasets"])
        return made

    def _other_datasets(self, rows: list[Values]) -> Iterator[Loss]:
        """The inputs whose name and digest another dataset has in an experiment of the database's own."""
        names = [row["name"] for row in rows]
        columns = ("name", "digest", *OF_A_DATASET)
        found = self.writer.select("datasets", columns, experiment_id=rows[0]["experiment_id"], name=names)
        there = {(each["name"], each["digest"]): [each[column] or "" for column in OF_A_DATASET] for each in found}
        for row in rows:
            mine = [row[column].value or "" for column in OF_A_DATASET]
            if there.get((row["name"], row["digest"]), mine) != mine:
                reason = "the experiment has another dataset of this name and digest, which is kept"
                yield Loss("input", f"{row['name']} {row['digest']}", reason)

    def _label_schema(self, record: Record) -> Made:
        """A label schema; the one that MLflow itself makes in each experiment may be there under another id."""
        made = review_rows.label_schema(record, self.settled)
        row = made.rows["label_schemas"][0]
        where = {"experiment_id": row["experiment_id"], "name": row["name"], "is_default": True}
        found = self.writer.select("label_schemas", ("schema_id",), **where) if row["is_default"] else []
        if not found or found[0]["schema_id"] == record.id:
            return made
        self.settled.ids[record.id] = str(found[0]["schema_id"])
        own = {key: value if key in {"name", "experiment_id"} else Guess(value) for key, value in row.items()}
        return Made((found[0]["schema_id"],), {"label_schemas": [{**own, "schema_id": found[0]["schema_id"]}]})

    def _mcp_server(self, record: Record) -> Made:
        """An MCP server. Raises ConflictError where another one has the name."""
        made = gateway_rows.mcp_server(record, self.settled)
        born = made.rows["mcp_servers"][0]["created_at"]
        where = {"workspace": self.settled.workspace, "name": record.id}
        found = self.writer.select("mcp_servers", ("created_at",), **where)
        if found and not isinstance(born, Guess) and found[0]["created_at"] != born:
            marks = self.writer.select("mcp_server_tags", ("value",), key=conflicts.SOURCE, **where)
            if [mark["value"] for mark in marks] != [self.job.source]:
                raise ConflictError(
                    f"the MCP server {record.name!r} is another one at the destination",
                    f"at {self.address}",
                    "delete that one, then type the command again",
                )
        return made

    def _workspace(self, record: Record) -> Made:
        """A workspace. Raises ConflictError where the one of that name is described otherwise."""
        made = gateway_rows.workspace(record, self.settled)
        row = made.rows["workspaces"][0]
        columns = ("description", "trace_archival_retention")
        for there in self.writer.select("workspaces", columns, name=record.id):
            if any((there[column] or "") != (row[column] or "") for column in columns):
                raise ConflictError(
                    f"the workspace {record.id!r} is another one at the destination",
                    f"its description or trace archival differs at {self.address}",
                    "make them equal, then type the command again",
                )
        return made

    def _logged_model(self, record: Record, address: str | None) -> Made:
        """A logged model without the metrics of a run that isn't there, which the tables refuse."""
        made = run_rows.model(record, self.settled, address)
        metrics = made.rows["logged_model_metrics"]
        wanted = {row["run_id"] for row in metrics}
        if not wanted:
            return made
        there = {row["run_uuid"] for row in self.writer.select("runs", ("run_uuid",), run_uuid=wanted)}
        there |= {run_id for run_id in wanted if ("run", run_id) in self.made}
        names = {row["dataset_name"] for row in metrics if row["dataset_name"]}
        if names:
            where = {"experiment_id": metrics[0]["experiment_id"], "name": names}
            found = self.writer.select("datasets", ("dataset_uuid", "name", "digest"), **where)
            ids = {(row["name"], row["digest"]): row["dataset_uuid"] for row in found}
            for row in metrics:
                row["dataset_uuid"] = Guess(ids.get((row["dataset_name"], row["dataset_digest"])))
        made.rows["logged_model_metrics"] = [row for row in metrics if row["run_id"] in there]
        made.losses += [Loss("metric", id_, f"run {id_} is not at the destination") for id_ in sorted(wanted - there)]
        return made

    def _scorer(self, record: Record) -> Made:
        made = review_rows.scorer(record, self.settled)
        found = self.writer.select("endpoints", ("name", "endpoint_id"), workspace=self.settled.workspace)
        ids = {row["name"]: row["endpoint_id"] for row in found}
        for row in made.rows["scorer_versions"]:
            row["serialized_scorer"] = gateway_rows.with_endpoint_ids(row["serialized_scorer"], ids)
        return made

    def name_in_scorers(self, record: Record) -> None:
        """Name a new endpoint by its id in the scorers that use it: they came before it."""
        bound = [
            row["resource_id"]
            for row in self.writer.select("endpoint_bindings", ("resource_id",), endpoint_id=record.id)
        ]
        columns = ("scorer_id", "scorer_version", "serialized_scorer")
        for row in self.writer.select("scorer_versions", columns, scorer_id=bound) if bound else ():
            text = gateway_rows.with_endpoint_ids(row["serialized_scorer"], {record.name: record.id})
            if text != row["serialized_scorer"]:
                key = {name: row[name] for name in columns[:2]}
                self.writer.update("scorer_versions", key, {"serialized_scorer": text})

    def _issue(self, record: Record) -> Made:
        made = review_rows.issue(record, self.settled)
        run_id = made.rows["issues"][0]["source_run_id"]
        if run_id and not self._has("run", "runs", "run_uuid", run_id):
            made.rows["issues"][0]["source_run_id"] = None
            made.losses.append(Loss("link", "source_run_id", f"run {run_id} is not at the destination"))
        return made

    def _has(self, kind: str, table: str, column: str, id_: str) -> bool:
        """Whether an object is there, or has been made in this rehearsal."""
        return (kind, id_) in self.made or bool(self.writer.select(table, (column,), **{column: id_}))

    def _model(self, record: Record) -> Made:
        try:
            chosen = conflicts.choose_model(self.writer, self.job, self.settled.workspace, record)
        except MigrationError as error:
            self.settled.models_left_out[record.id] = error
            raise
        self.settled.names[record.kind, record.id] = chosen.name
        made = registry_rows.model(record, self.settled, chosen.marks or {})
        if chosen.joins:
            owner = {"workspace": self.settled.workspace, "name": chosen.name}
            there = {row["key"] for row in self.writer.select("registered_model_tags", ("key",), **owner)}
            taken = {row["alias"] for row in self.writer.select("registered_model_aliases", ("alias",), **owner)}
            made.rows["registered_models"] = [dict(owner)]
            made.rows["registered_model_tags"] = [
                row for row in made.rows["registered_model_tags"] if row["key"] not in there
            ]
            made.rows["registered_model_aliases"] = [
                row for row in made.rows["registered_model_aliases"] if row["alias"] not in taken
            ]
        return made

    def _version(self, record: Record) -> Made:
        name = record.head["name"]
        why = self.settled.models_left_out.get(name)
        kind = registry_rows.MODEL_OF[record.kind]
        if isinstance(why, LeftOutError):
            raise LeftOutError(f"its {kind} is left out")
        there = self.settled.name(kind, name)
        if why is not None or (
            (kind, name) not in self.made
            and not self.writer.select("registered_models", ("name",), name=there, workspace=self.settled.workspace)
        ):
            raise NotFoundError(f"its {kind} did not arrive", name)
        conflicts.check_version(self.writer, record, self.settled.workspace, there)
        return registry_rows.version(record, self.settled, self._stored_at)

    def _stored_at(self, source: str) -> str:
        """Where what a version's source names lies, as MLflow itself keeps it: see `create_model_version` of its
        store."""
        if not source.startswith("models:/"):
            return source
        name, _, number = source.removeprefix("models:/").partition("/")
        if not number:
            found = self.writer.select("logged_models", ("artifact_location",), model_id=name)
            return str(found[0]["artifact_location"]) if found else source
        if not number.isdigit():
            return source
        where = {"workspace": self.settled.workspace, "name": name, "version": int(number)}
        versions = self.writer.select("model_versions", ("storage_location", "source"), **where)
        return str(versions[0]["storage_location"] or versions[0]["source"]) if versions else source

    def secret(self, record: Record) -> Written:
        found = self._secret_named(record.name)
        if found is None:
            loss = Loss("secret", record.name, _missing(record.name, self.address))
            return Written("", "skipped", reason="MLflow never gives a secret's value", losses=(loss,))
        if (found["provider"] or "") != record.head["provider"]:
            raise ConflictError(
                f"the gateway secret {record.name!r} is another one at the destination",
                f"it is for the provider {found['provider']!r}, not {record.head['provider']!r}",
                "delete that one and make it anew, then type the command again",
            )
        return Written(record.id, "same")

    def _secret_named(self, name: str) -> Values | None:
        where = {"secret_name": name, "workspace": self.settled.workspace}
        found = self.writer.select("secrets", ("secret_id", "provider"), **where)
        return found[0] if found else None

    def _gateway(self, record: Record) -> Made:
        head, to = record.head, self.settled
        if record.kind == "gateway_model_definition":
            name = head.get("secret_name", "")
            secret = self._secret_named(name) if name else None
            if secret is None:
                reason = _missing(name, self.address) if name else "it has no secret at the source: give it one there"
                loss = Loss("secret", name or record.name, reason)
                return Made((), {}, losses=[loss], said="its secret is not at the destination")
            return gateway_rows.definition(record, to, secret["secret_id"])
        if record.kind == "gateway_endpoint":
            return self._endpoint(record)
        if record.kind == "gateway_budget":
            target = head.get("target_value", "")
            if "endpoint_name" in head and not self._has("gateway_endpoint", "endpoints", "endpoint_id", target):
                return _waits(record, f"its endpoint {head['endpoint_name']!r} is not at the destination")
            return gateway_rows.budget(record, to)
        return self._guardrail(record)

    def _endpoint(self, record: Record) -> Made:
        table, column = "model_definitions", "model_definition_id"
        for each in record.head["models"]:
            if not self._has("gateway_model_definition", table, column, each[column]):
                return _waits(record, f"its model {each['name']!r} is not at the destination")
        columns = ("experiment_id", "scorer_name", "scorer_id")
        scorers = {
            (row["experiment_id"], row["scorer_name"]): row["scorer_id"]
            for row in self.writer.select("scorers", columns)
        }
        made = gateway_rows.endpoint(record, self.settled, scorers)
        missing = len(record.head.get("scorers", ())) - len(made.rows["endpoint_bindings"])
        if missing and not self.job.dry_run:
            made.losses.append(Loss("link", record.name, f"{missing} of its scorers are not at the destination"))
        return made

    def _guardrail(self, record: Record) -> Made:
        head = record.head
        scorer = head["scorer"]
        place = self.settled.experiments.get(scorer["experiment_id"])
        where = {"experiment_id": place.id if place else -1, "scorer_name": scorer["name"]}
        found = self.writer.select("scorers", ("scorer_id",), **where)
        in_rehearsal = self.job.dry_run and place is not None
        if not found and not in_rehearsal:
            return _waits(record, f"its scorer {scorer['name']!r} is not at the destination")
        named = [each for each in (head.get("action_endpoint"), *head["endpoints"]) if each]
        for each in named:
            if not self._has("gateway_endpoint", "endpoints", "endpoint_id", each["endpoint_id"]):
                return _waits(record, f"its endpoint {each['name']!r} is not at the destination")
        return gateway_rows.guardrail(record, self.settled, found[0]["scorer_id"] if found else "")


def _waits(record: Record, why: str) -> Made:
    """Nothing of an object that needs another one first."""
    return Made((), {}, losses=[Loss("link", record.name, why)], said="it waits for what it needs")


def _missing(name: str, address: str) -> str:
    return f"make a gateway secret named {name!r} at {address} and type this command again"
