"""Whether the files of a repository's CI are right: their form, what they promote, and what they may do.

Their form is proven by actionlint where it is installed, and by check-jsonschema's copies of the providers' schemas.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from mlflow_migration.errors import StorageError, UsageError
from mlflow_migration.promotion import process
from mlflow_migration.promotion.policy import Policy

WORKFLOWS = ".github/workflows"
BUNDLE = "databricks.yml"
SCHEMAS = {
    ".gitlab-ci.yml": ("vendor.gitlab-ci", "gitlab-ci"),
    "azure-pipelines.yml": ("vendor.azure-pipelines", "azure-pipelines"),
}
GITHUB_SCHEMA = ("vendor.github-workflows", "")
CHECKER = "check_jsonschema"
SCRIPT = re.compile(r"ci/mlflow-(?:plan|promote)\.sh[ \t]+([\w-]+)")
STORED = re.compile(r"\b(dapi[0-9a-f]{32}|dose[0-9a-f]{32}|gh[pousr]_\w{36,})\b")
"""Tokens of Databricks (personal, OAuth secrets) and of GitHub, by how they begin."""
SECONDS = 120
ACTIONLINT = "actionlint"


@dataclass(frozen=True)
class Finding:
    """Something wrong in a file, and what to do."""

    path: str
    what: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Checked:
    """What was looked at, by which tools, and what was found."""

    files: tuple[str, ...]
    tools: tuple[str, ...]
    findings: tuple[Finding, ...]


def check(folder: Path, policy: Policy | None) -> Checked:
    """Look at all files of the CI below a repository's folder.

    Raises UsageError where there is none to look at, or nothing to look at their form with.
    """
    files = sorted(_files(folder))
    if not files:
        raise UsageError(f"no workflow or pipeline is in {folder}", hint="mlflow-migration cicd init writes them")
    tools = _tools()
    if not tools:
        raise UsageError(
            "nothing to check the files with", "neither check-jsonschema nor actionlint is installed", INSTALL
        )
    findings = list(_policy_findings(folder, policy))
    for path in files:
        findings += _findings(folder, path, policy, tools)
    return Checked(tuple(files), tools, tuple(findings))


INSTALL = "pip install 'mlflow-migration[cicd]'"


def _tools() -> tuple[str, ...]:
    found = [ACTIONLINT] if shutil.which(ACTIONLINT) else []
    return (*found, *([CHECKER] if importlib.util.find_spec(CHECKER) else []))


def _files(folder: Path) -> Iterator[str]:
    for name in (*SCHEMAS, BUNDLE):
        if (folder / name).is_file():
            yield name
    for path in (folder / WORKFLOWS).glob("*.y*ml"):
        yield f"{WORKFLOWS}/{path.name}"


def _policy_findings(folder: Path, policy: Policy | None) -> Iterator[Finding]:
    if policy is None:
        yield Finding("promotion.yml", "there is no policy", "mlflow-migration promote init")
    for name in ("ci/mlflow-plan.sh", "ci/mlflow-promote.sh"):
        if not (folder / name).is_file():
            yield Finding(name, "the script is missing", "mlflow-migration cicd init writes it")


def _findings(folder: Path, path: str, policy: Policy | None, tools: tuple[str, ...]) -> Iterator[Finding]:
    try:
        text = (folder / path).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise StorageError(f"can't read {folder / path}", error.strerror or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield Finding(path, f"not YAML: {' '.join(str(error).split())[:300]}")
        return
    if not isinstance(content, dict):
        yield Finding(path, "not a mapping")
        return
    if STORED.search(text):
        yield Finding(path, "a token stands in it", "revoke it, and keep its successor as a secret of the repository")
    if path == BUNDLE:
        yield from _bundle_findings(content)
    elif path.startswith(WORKFLOWS) and ACTIONLINT in tools:
        yield from _actionlint(folder, path)
    elif CHECKER in tools:
        yield from _schema(folder, path)
    for target in sorted(set(SCRIPT.findall(text))):
        if policy is not None and target not in policy.path[1:]:
            yield Finding(path, f"nothing can be promoted into {target!r}", f"the path is {' → '.join(policy.path)}")


def _bundle_findings(content: Mapping[str, Any]) -> Iterator[Finding]:
    bundle, targets = content.get("bundle"), content.get("targets")
    if not isinstance(bundle, dict) or not bundle.get("name"):
        yield Finding(BUNDLE, "bundle.name is missing")
    if not isinstance(targets, dict) or not targets:
        yield Finding(BUNDLE, "targets are missing", "name one for each environment")
        return
    for name, target in targets.items():
        mode = target.get("mode") if isinstance(target, dict) else None
        if mode not in {"development", "production", None}:
            yield Finding(BUNDLE, f"targets.{name}.mode is {mode!r}", "development or production")
    if sum(bool(isinstance(target, dict) and target.get("default")) for target in targets.values()) > 1:
        yield Finding(BUNDLE, "more than one target is the default")


def _actionlint(folder: Path, path: str) -> Iterator[Finding]:
    found = _run([ACTIONLINT, "-no-color", "-format", "{{json .}}", path], folder)
    for fault in _answer(ACTIONLINT, found) or ():
        yield Finding(path, f"line {fault['line']}: {fault['message']}")


def _schema(folder: Path, path: str) -> Iterator[Finding]:
    schema, transform = SCHEMAS.get(path, GITHUB_SCHEMA)
    words = [sys.executable, "-m", CHECKER, "--builtin-schema", schema, "--output-format", "json"]
    # A pattern in the schema of Azure's pipelines is none in ECMAScript's unicode mode.
    words += ["--regex-variant", "nonunicode"]
    found = _run([*words, *(["--data-transform", transform] if transform else []), path], folder)
    report = _answer(CHECKER, found) or {}
    if found.code and not report:
        raise UsageError(f"{CHECKER} failed", found.last_words, INSTALL)
    for fault in report.get("errors", []):
        yield Finding(path, f"{fault['path']}: {fault['message']}"[:500])
    for fault in report.get("parse_errors", []):
        yield Finding(path, f"not YAML: {fault['message']}"[:500])


def _answer(tool: str, ended: process.Ended) -> Any:
    """What a tool found. Raises UsageError where it broke itself."""
    try:
        return json.loads(ended.out or "null")
    except ValueError as error:
        raise UsageError(f"{tool} failed", ended.last_words or ended.out[:300], "update it") from error


def _run(words: list[str], folder: Path) -> process.Ended:
    try:
        ended = process.run(process.Program(words, folder, os.environ), "", SECONDS)
    except OSError as error:
        raise UsageError(f"{words[0]} can't be run", error.strerror or str(error)) from error
    if ended.code is None:
        raise UsageError(f"{words[0]} gave no answer within {SECONDS} s")
    return ended
