"""The files of a provider: rendered from templates, written all or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from mlflow_migration.cicd.steps import Pipeline
from mlflow_migration.errors import StorageError, UsageError

TEMPLATES = Path(__file__).with_name("templates")
GITHUB, GITLAB, AZURE = "github", "gitlab", "azure-devops"
SHARED = {
    "shared/plan.sh": "ci/mlflow-plan.sh",
    "shared/promote.sh": "ci/mlflow-promote.sh",
    "shared/databricks.yml": "databricks.yml",
}
OF_PROVIDER: Mapping[str, Mapping[str, str]] = {
    GITHUB: {"github/pull-request.yml": ".github/workflows/mlflow-pull-request.yml"},
    GITLAB: {"gitlab/gitlab-ci.yml": ".gitlab-ci.yml"},
    AZURE: {"azure-devops/azure-pipelines.yml": "azure-pipelines.yml"},
}
PUSH = "github/promote.yml"
"""One workflow for each branch: GitHub shows and protects them apart."""


@dataclass(frozen=True)
class Rendered:
    """One file to be written: its path in the repository, and its text."""

    path: str
    text: str


def render(provider: str, pipeline: Pipeline) -> list[Rendered]:
    """All files of a provider. The scripts are the same for each, so that a promotion is too."""
    # `${{ … }}` and `{% … %}` are GitHub's and shells' own.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        # None of these files is HTML.
        autoescape=jinja2.select_autoescape(()),
    )
    files = {**SHARED, **OF_PROVIDER[provider]}
    found = [
        Rendered(path, environment.get_template(name).render(pipeline=pipeline, provider=provider))
        for name, path in files.items()
    ]
    if provider == GITHUB:
        for step in pipeline.steps:
            text = environment.get_template(PUSH).render(pipeline=pipeline, provider=provider, step=step)
            found.append(Rendered(f".github/workflows/mlflow-promote-{step.target}.yml", text))
    return found


def write(files: list[Rendered], folder: Path, overwrite: bool) -> list[tuple[str, str]]:
    """Write them below a repository's folder; each path with "made", "replaced" or "same".

    Raises UsageError where other files are in the way, before anything is written; StorageError.
    """
    states = planned(files, folder)
    taken = [path for path, state in states if state == "replaced"]
    if taken and not overwrite:
        raise UsageError(f"there already, and not the same: {', '.join(taken)}", hint="--overwrite replaces them")
    for file, (_, state) in zip(files, states, strict=True):
        if state == "same":
            continue
        path = folder / file.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text, encoding="utf-8")
            if path.suffix == ".sh":
                path.chmod(0o755)
        except OSError as error:
            raise StorageError(f"can't write {path}", error.strerror or str(error)) from error
    return states


def planned(files: list[Rendered], folder: Path) -> list[tuple[str, str]]:
    """Each path with what writing it would do."""
    return [(file.path, _state(folder / file.path, file.text)) for file in files]


def _state(path: Path, text: str) -> str:
    try:
        return "same" if path.read_text(encoding="utf-8") == text else "replaced"
    except FileNotFoundError:
        return "made"
    except (OSError, UnicodeDecodeError):
        return "replaced"
