"""From a server or bundle into MLflow's own tables: every row is what the source's own database holds."""

from pathlib import Path

from tests import same_tables
from tests.conftest import Tool
from tests.fidelity.test_demo_data import demo
from tests.servers import Server

__all__ = ["demo"]


def test_the_demo_data_is_the_same_in_every_table(demo: Server, run_tool: Tool, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path / 'new.db'}"
    copy = ("copy-all", "--src-mlflow-uri", demo.url, "--dst-mlflow-uri", target)
    root = ("--dst-artifact-root", tmp_path / "artifacts")
    outcome = run_tool(*copy, *root, "--json")
    assert outcome.code == 0
    assert same_tables.differences(f"sqlite:///{demo.database}", target) == []
