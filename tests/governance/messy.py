"""A server with one of every problem, beside as much that is as it should be. All by plain requests and SQL."""

import hashlib
import time
from dataclasses import dataclass, field

from tests import seeding, servers, traces
from tests.governance import scene
from tests.rest import Api
from tests.seeding import pairs
from tests.servers import Server

DAY = 86_400_000
NOW = int(time.time() * 1000)
UNSIGNED = "# no signature here\n"


@dataclass
class Messy:
    """A server being filled; experiments by name."""

    server: Server
    api: Api
    experiments: dict[str, str] = field(default_factory=dict)

    def experiment(self, name: str) -> str:
        """An experiment's id, made when it is first named."""
        if name not in self.experiments:
            self.experiments[name] = self.api.post("experiments/create", name=name)["experiment_id"]
        return self.experiments[name]

    def run(self, experiment: str, name: str, user: str = "dora", days: float = 1.0) -> str:
        """A finished run with everything that is asked for; its id."""
        run = self.bare(experiment, name, user, days, {"mlflow.source.git.commit": scene.COMMIT})
        seeding.log_params(self.api, run, {"depth": "6"})
        seeding.log_metric(self.api, run, "auc", [(0, NOW, 0.9)])
        seeding.log_dataset(self.api, run, "customers", {})
        self.end(run)
        return run

    def bare(
        self, experiment: str, name: str, user: str = "", days: float = 1.0, tags: dict[str, str] | None = None
    ) -> str:
        """A run with nothing but its name, RUNNING; its id."""
        body = {"experiment_id": self.experiment(experiment), "run_name": name, "user_id": user}
        start = NOW - int(days * DAY)
        made = self.api.post("runs/create", **body, start_time=start, tags=pairs(tags or {}))
        return str(made["run"]["info"]["run_id"])

    def end(self, run: str) -> None:
        """End a run."""
        self.api.post("runs/update", run_id=run, status="FINISHED", end_time=NOW)

    def version(self, model: str, run: str, mlmodel: str = scene.SIGNATURE, **body: object) -> str:
        """A version with description and owner, of a new logged model of a run; its number."""
        logged = scene.logged_model(self.api, self.experiment("churn"), run, mlmodel)
        fields = {"description": "weekly model", "tags": pairs({"owner": "team-churn"}), **body}
        fields |= {"run_id": run} if run else {}
        source = {"source": f"models:/{logged}", "model_id": logged}
        return str(self.api.post("model-versions/create", name=model, **source, **fields)["model_version"]["version"])

    def model(self, name: str) -> None:
        """A registered model."""
        self.api.post("registered-models/create", name=name)

    def champion(self, model: str, version: str = "1") -> None:
        """Give a version the alias of versions in use."""
        self.api.post("registered-models/alias", name=model, alias="champion", version=version)

    def made_ago(self, model: str, version: str, days: int) -> None:
        """Make a version older than it is."""
        statement = "UPDATE model_versions SET creation_time = ? WHERE name = ? AND version = ?"
        assert servers.execute(self.server, statement, NOW - days * DAY, model, int(version)) == 1

    def trace(self, experiment: str, number: int, days: float) -> str:
        """A trace of some days ago; its id."""
        trace = f"tr-{number:032x}"
        when = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime((NOW - days * DAY) / 1000))
        traces.start(self.api, self.experiment(experiment), trace, request_time=when)
        return trace


def digest(mlmodel: str) -> str:
    """The digest of a version with this MLmodel and nothing else: that of what sha256sum says of its files."""
    content = f"flavors: {{}}\n{mlmodel}".encode()
    return hashlib.sha256(f"{hashlib.sha256(content).hexdigest()}  MLmodel\n".encode()).hexdigest()


def fill(server: Server) -> set[tuple[str, str, str]]:
    """Fill a server; what is wrong there as (rule, kind, name)."""
    mess = Messy(server, Api(server.url))
    _of_runs(mess)
    _of_versions(mess)
    _in_use(mess)
    for number, days in enumerate((40, 30, 20, 1)):
        mess.trace("chat", number, days)
    traces.assess(
        mess.api, mess.trace("chat", 9, 25), assessment_name="ok", feedback={"value": True}, source=traces.HUMAN
    )
    mess.api.close()
    return {
        ("experiment-of-one", "experiment", "/Users/anna@example.com/scratch"),
        ("experiment-of-one", "experiment", "bob's ideas"),
        ("naming", "experiment", "test 2"),
        ("naming", "registered model", "tmp"),
        ("run-metadata", "run", "bare"),
        ("run-stuck", "run", "stuck"),
        ("version-description", "model version", "poor/1"),
        ("version-signature", "model version", "poor/2"),
        ("version-evidence", "model version", "poor/3"),
        ("version-owner", "model version", "poor/4"),
        ("version-unused", "model version", "poor/5"),
        ("origin-untraceable", "model version", "lost/1"),
        ("origin-untraceable", "model version", "unknown/1"),
        ("version-evidence", "model version", "unknown/1"),
        ("bytes-differ", "model version", "changed/1"),
        ("champion-stale", "model version", "old/1"),
        ("traces-unreviewed", "experiment", "chat"),
    }


def _of_runs(mess: Messy) -> None:
    parent = mess.run("churn", "as it should be")
    mess.run("churn", "another person's", "eli")
    mess.end(mess.bare("churn", "bare"))
    mess.end(mess.bare("churn", "a trial", tags={"mlflow.parentRunId": parent}))
    mess.bare("churn", "stuck", "dora", days=3)
    mess.bare("churn", "just begun", "dora", days=0.1)
    gone = mess.bare("churn", "thrown away")
    mess.end(gone)
    mess.api.post("runs/delete", run_id=gone)
    mess.run("/Users/anna@example.com/scratch", "mine", "anna")
    mess.run("bob's ideas", "his", "bob")
    mess.experiment("test 2")
    deleted = mess.experiment("untitled")
    mess.api.post("experiments/delete", experiment_id=deleted)
    journal = {"mlflow_migration.promotion.kind": "promotion"}
    mess.end(mess.bare("promotions", "of a journal", tags=journal))
    mess.model("tmp")


def _of_versions(mess: Messy) -> None:
    mess.model("poor")
    mess.version("poor", mess.run("churn", "poor 1"), description="")
    mess.version("poor", mess.run("churn", "poor 2"), UNSIGNED)
    # As a trial it needs no metadata.
    unmeasured = mess.bare("churn", "poor 3", "dora", tags={"mlflow.parentRunId": "0" * 32})
    mess.end(unmeasured)
    mess.version("poor", unmeasured)
    mess.version("poor", mess.run("churn", "poor 4"), tags=[])
    mess.version("poor", mess.run("churn", "poor 5"))
    mess.version("poor", mess.run("churn", "poor 6"))
    mess.made_ago("poor", "5", 100)
    prompt = {"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": "hi"}
    mess.api.post("registered-models/create", name="ask", tags=pairs(prompt))
    mess.api.post("model-versions/create", name="ask", source="dummy-source", tags=pairs(prompt))


def _in_use(mess: Messy) -> None:
    for name in ("good", "lost", "unknown", "changed", "old"):
        mess.model(name)
    right = pairs({"owner": "team-churn", "mlflow_migration.promotion.digest": digest(scene.SIGNATURE)})
    mess.version("good", mess.run("churn", "good"), tags=right)
    lost = mess.run("churn", "lost")
    mess.version("lost", lost)
    mess.api.post("runs/delete", run_id=lost)
    mess.version("unknown", "")
    wrong = pairs({"owner": "team-churn", "mlflow_migration.promotion.digest": digest("something else")})
    mess.version("changed", mess.run("churn", "changed"), tags=wrong)
    mess.version("old", mess.run("churn", "old", days=200))
    mess.made_ago("old", "1", 200)
    for name in ("good", "lost", "unknown", "changed", "old"):
        mess.champion(name)
