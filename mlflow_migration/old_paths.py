"""Module paths that users of mlflow-export-import run: `python -m mlflow_migration.run.export_run` and the like.

One table instead of folders full of stubs: a finder, asked last, gives each of these names a module that runs its
command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

ROOT = "mlflow_migration."
COMMANDS = {
    "bulk.export_all": "everything:export_all",
    "bulk.export_evaluation_datasets": "genai:export_evaluation_datasets",
    "bulk.export_experiments": "experiments:export_experiments",
    "bulk.export_logged_models": "genai:export_logged_models",
    "bulk.export_models": "models:export_models",
    "bulk.export_prompts": "genai:export_prompts",
    "bulk.export_traces": "genai:export_traces",
    "bulk.import_evaluation_datasets": "genai:import_evaluation_datasets",
    "bulk.import_experiments": "experiments:import_experiments",
    "bulk.import_logged_models": "genai:import_logged_models",
    "bulk.import_models": "everything:import_all",
    "bulk.import_prompts": "genai:import_prompts",
    "bulk.import_traces": "genai:import_traces",
    "client.http_client": "tools:http_client",
    "common.find_artifacts": "tools:find_artifacts",
    "common.http_client": "tools:http_client",
    "copy.copy_model_version": "models:copy_model_version",
    "copy.copy_run": "runs:copy_run",
    "evaluation_dataset.export_evaluation_dataset": "genai:export_evaluation_dataset",
    "evaluation_dataset.import_evaluation_dataset": "genai:import_evaluation_dataset",
    "experiment.export_experiment": "experiments:export_experiment",
    "experiment.import_experiment": "experiments:import_experiment",
    "logged_model.export_logged_model": "genai:export_logged_model",
    "logged_model.import_logged_model": "genai:import_logged_model",
    "model.export_model": "models:export_model",
    "model.import_model": "models:import_model",
    "model.list_registered_models": "tools:list_registered_models",
    "model_version.export_model_version": "models:export_model_version",
    "model_version.import_model_version": "models:import_model_version",
    "prompt.export_prompt": "genai:export_prompt",
    "prompt.import_prompt": "genai:import_prompt",
    "run.export_run": "runs:export_run",
    "run.import_run": "runs:import_run",
    "tools.get_model_signature": "signatures:get_model_signature",
    "tools.list_model_versions_without_signatures": "signatures:list_model_versions_without_signatures",
    "tools.list_registered_models": "tools:list_registered_models",
    "tools.set_model_signature": "signatures:set_model_signature",
    "trace.export_trace": "genai:export_trace",
    "trace.import_trace": "genai:import_trace",
}
"""Old path → module and function of `mlflow_migration.cli`."""
PACKAGES = frozenset(path.partition(".")[0] for path in COMMANDS)


class _Loader(InspectLoader):
    def is_package(self, fullname: str) -> bool:
        return fullname.removeprefix(ROOT) in PACKAGES

    def get_source(self, fullname: str) -> str:
        command = COMMANDS.get(fullname.removeprefix(ROOT))
        if command is None:
            return ""
        module, _, function = command.partition(":")
        return f"from {ROOT}cli.{module} import {function} as main\n\nif __name__ == '__main__':\n    main()\n"


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname.removeprefix(ROOT)
        if not fullname.startswith(ROOT) or (name not in COMMANDS and name not in PACKAGES):
            return None
        return spec_from_loader(fullname, _Loader(), origin="mlflow_migration.old_paths", is_package=name in PACKAGES)


def install() -> None:
    """Let Python find the old paths; once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
