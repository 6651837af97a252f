"""`python -m mlflow_migration.experiment.export_experiment` and its like run the commands they name."""

import pytest

from mlflow_migration.old_paths import COMMANDS
from tests.conftest import Tool


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_an_old_module_path_is_its_command(run_tool: Tool, path: str) -> None:
    outcome = run_tool.module(f"mlflow_migration.{path}", "--help").expect(0)
    assert COMMANDS[path].partition(":")[2].replace("_", "-") in outcome.stdout
    assert "Examples:" in outcome.stdout


def test_a_path_that_never_was_is_not_made_up(run_tool: Tool) -> None:
    assert "No module named" in run_tool.module("mlflow_migration.run.export_walk", "--help").expect(1).stderr
