"""What people type today: every command of mlflow-export-import and every option of it is taken as it was spelt."""

import click
import pytest

from mlflow_migration.cli.main import all_commands

OLD = {
    "copy-model-version": (
        "--src-model --src-version --dst-model --src-registry-uri --dst-registry-uri "
        "--dst-experiment-name --copy-permissions=? --copy-stages-and-aliases=? --copy-lineage-tags=? "
        "--verbose=?"
    ),
    "copy-run": "--run-id --experiment-name --src-mlflow-uri --dst-mlflow-uri",
    "export-all": (
        "--output-dir --export-latest-versions=? --stages --run-start-time --runs-until "
        "--export-deleted-runs=? --export-version-model=? --export-permissions=? --notebook-formats "
        "--use-threads=?"
    ),
    "export-evaluation-dataset": "--dataset-name --dataset-id --output-dir",
    "export-evaluation-datasets": "--output-dir --evaluation-datasets --experiment-ids --use-threads=?",
    "export-experiment": (
        "--experiment --output-dir --run-ids --export-permissions=? --run-start-time --runs-until "
        "--export-deleted-runs=? --check-nested-runs=? --notebook-formats"
    ),
    "export-experiments": (
        "--experiments --output-dir --export-permissions=? --run-start-time --runs-until "
        "--export-deleted-runs=? --notebook-formats --use-threads=?"
    ),
    "export-logged-model": "--model-id --output-dir",
    "export-logged-models": "--experiment-ids --output-dir",
    "export-model": (
        "--model --output-dir --stages --versions --export-latest-versions=? --export-version-model=? "
        "--export-deleted-runs=? --export-permissions=? --notebook-formats"
    ),
    "export-model-version": (
        "--model --version --output-dir --vrm-export-version-model=? --vrm-model-artifact-path "
        "--skip-download-run-artifacts=? --export-permissions=? --notebook-formats"
    ),
    "export-models": (
        "--models --output-dir --export-latest-versions=? --export-all-runs=? --stages "
        "--export-permissions=? --run-start-time --runs-until --export-deleted-runs=? "
        "--export-version-model=? --notebook-formats --use-threads=?"
    ),
    "export-prompt": "--prompt-name --prompt-version --output-dir",
    "export-prompts": "--output-dir --prompts --use-threads=?",
    "export-run": "--run-id --output-dir --notebook-formats",
    "export-trace": "--request-id --output-dir",
    "export-traces": "--experiment-ids --output-dir",
    "get-model-signature": "--model-uri --output-file --use-get-model-info=?",
    "http-client": "--api=mlflow --resource --method=GET --params --data --output-file",
    "import-all": (
        "--input-dir --delete-model=? --delete-prompt=? --delete-evaluation-dataset=? "
        "--import-permissions=? --experiment-rename-file --model-rename-file --import-source-tags=? "
        "--use-src-user-id=? --use-threads=? --verbose=?"
    ),
    "import-evaluation-dataset": "--input-dir --evaluation-dataset-name --delete-evaluation-dataset=?",
    "import-evaluation-datasets": "--input-dir --delete-evaluation-dataset=? --use-threads=?",
    "import-experiment": (
        "--experiment-name --input-dir --import-permissions=? --import-source-tags=? --use-src-user-id=? "
        "--dst-notebook-dir"
    ),
    "import-experiments": (
        "--input-dir --import-permissions=? --import-source-tags=? --use-src-user-id=? "
        "--experiment-rename-file --use-threads=?"
    ),
    "import-logged-model": "--input-dir --experiment-name --mlmodel-fix=?",
    "import-logged-models": "--input-dir",
    "import-model": (
        "--input-dir --model --experiment-name --delete-model=? --import-permissions=? "
        "--import-source-tags=? --await-creation-for=7 --verbose=?"
    ),
    "import-model-version": (
        "--model --experiment-name --input-dir --create-model=? --import-permissions=? "
        "--import-source-tags=? --import-stages-and-aliases=? --import-metadata=?"
    ),
    "import-models": (
        "--input-dir --delete-model=? --import-permissions=? --experiment-rename-file "
        "--model-rename-file --import-source-tags=? --use-src-user-id=? --use-threads=? --verbose=?"
    ),
    "import-prompt": "--input-dir --prompt-name --delete-prompt=?",
    "import-prompts": "--input-dir --delete-prompt=? --use-threads=?",
    "import-run": (
        "--input-dir --experiment-name --import-source-tags=? --use-src-user-id=? --dst-notebook-dir --mlmodel-fix=?"
    ),
    "import-trace": "--input-dir --experiment-name",
    "import-traces": "--input-dir",
    "list-model-versions-without-signatures": "--filter --output-file --use-get-model-info=?",
    "set-model-signature": "--model-uri --input-file --output-file --overwrite-signature=?",
}
"""Command → its options; those that end in `=?` take True or False. `download-notebook` is for Databricks alone."""
BY_NAME = {command.name: command for command in all_commands()}


@pytest.mark.parametrize("name", OLD)
def test_an_old_command_takes_its_old_options(name: str) -> None:
    for value in ("True", "False"):
        words = []
        for word in OLD[name].split():
            option, _, kind = word.partition("=")
            words += [option, value if kind == "?" else kind or "text"]
        taken = BY_NAME[name].make_context(name, words)
        for word in OLD[name].split():
            option, _, kind = word.partition("=")
            given = {parameter: taken.params[parameter.name or ""] for parameter in _named(taken.command, option)}
            if kind == "?" and option != "--verbose":
                assert list(given.values()) == [value == "True"]


def _named(command: click.Command, option: str) -> list[click.Parameter]:
    found = [parameter for parameter in command.params if option in parameter.opts]
    assert len(found) == 1, option
    return found
