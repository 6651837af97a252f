"""Running workspaces, started when first asked for and used again by later tests with nothing left of the earlier."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests import servers
from tests.databricks import server
from tests.databricks.server import Serving
from tests.databricks.state import Account, Metastore, Workspace, empty
from tests.servers import Options, Server, Snapshot

ARTIFACT_ROOT = "dbfs:/databricks/mlflow-tracking"


def make_template(source: Path, path: Path) -> Path:
    """An MLflow database without the experiment "Default", which a Databricks workspace doesn't have either."""
    with closing(sqlite3.connect(source)) as empty, closing(sqlite3.connect(path)) as base:
        empty.backup(base)
        base.execute("DELETE FROM experiments")
        base.commit()
    return path


@dataclass
class _Running:
    serving: Serving
    tracking: Server | None = None
    fresh: bool = True


@dataclass
class Pool:
    """One account and its running workspaces; `folder` holds everything on disk, `template` begins each database."""

    folder: Path
    template: Path
    port: int = 0  # of the first workspace; any free one for 0
    account: Account = field(init=False)
    _running: dict[str, _Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.account = Account(self.folder / "account", open_workspace=self.workspace)

    def workspace(self, name: str, metastore: str) -> Workspace:
        """The workspace of that name, attached to that metastore, started if it isn't yet."""
        account = self.account
        with account.lock:
            if name in account.workspaces:
                found = account.workspaces[name]
                if found.metastore.name != metastore:
                    raise ValueError(f"workspace {name} is attached to {found.metastore.name} already")
                return found
            if metastore not in account.metastores:
                empty(self.folder / "metastores" / metastore)
                account.metastores[metastore] = Metastore(metastore, self.folder / "metastores" / metastore)
            if name not in self._running:
                number = 7_000_000_000_000_001 + len(self._running)
                made = Workspace(
                    name, account, account.metastores[metastore], self.folder / "workspaces" / name, number
                )
                made.mlflow = lambda: self._tracking(name)
                self._running[name] = _Running(server.serve(made, 0 if self._running else self.port))
            workspace = self._running[name].serving.workspace
            workspace.metastore = account.metastores[metastore]
            workspace.reset()
            self._running[name].fresh = False
            account.workspaces[name] = workspace
            return workspace

    def _tracking(self, name: str) -> str:
        """The address of the workspace's MLflow server; its database is emptied for each test that asks."""
        running = self._running[name]
        with running.serving.workspace.lock:
            if not running.tracking:
                options = Options(template=self.template, serve_artifacts=False, artifact_root=ARTIFACT_ROOT)
                running.tracking = servers.start(self.folder / "mlflow" / name, options)
                # Its first look into a database without experiments makes "Default"; the reset takes that away again.
                requests.get(f"{running.tracking.url}/api/2.0/mlflow/experiments/search?max_results=1", timeout=60)
                running.fresh = False
            if not running.fresh:
                servers.reset(running.tracking, Snapshot(self.template))
                running.fresh = True
            return running.tracking.url

    def reset(self) -> None:
        """As at first: no workspaces, no metastores, the admin alone."""
        self.account.reset()

    def stop(self) -> None:
        """End all servers."""
        for running in self._running.values():
            running.serving.workspace.parts.clear()
            running.serving.stop()
            if running.tracking:
                servers.stop(running.tracking)
        self.account.lasting.clear()
