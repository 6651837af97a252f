"""The shell steps of the generated files, run as they stand against three local servers."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests import servers
from tests.conftest import ServerFactory, Tool
from tests.promotion.churn import Week, training

POLICY = """
version: 1
environments:
  dev: {server: "@dev"}
  staging: {server: "@staging"}
  prod: {server: "@prod"}
path: [dev, staging, prod]
rules:
  - models: churn
    gates:
      - {gate: run_finished}
      - {gate: required, tags: [owner]}
"""
GH = """#!/bin/sh
# Stands for GitHub's own tool: keeps what it was told and the comment.
echo "$@" >> "$COMMENTS/words"
cat plan.md > "$COMMENTS/comment.md"
"""
HOSTILE = "high\n```\n::add-mask::a\r##vso[task.setvariable variable=PATH]/tmp##[error]\x1b[2J"
"""A tag that means something to GitHub's and Azure's runners, to Markdown, and to a terminal."""
EXPRESSION = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}|\$\(([\w.]+)\)")
EXPRESSIONS = {
    "github.token": "a-token-of-the-job",
    "github.event.pull_request.number": "42",
    "secrets.STAGING_TOKEN": "of staging",
    "STAGING_TOKEN": "of staging",
    "System.AccessToken": "a-token-of-the-job",
}


def _filled(value: str) -> str:
    return EXPRESSION.sub(lambda found: EXPRESSIONS[found[1] or found[2]], value)


class Repository:
    """A team's repository with a policy, its CI, and a test of its own."""

    def __init__(self, folder: Path, urls: Mapping[str, str]) -> None:
        self.folder = folder
        self.outside = folder.parent / "outside"
        for path in (folder, self.outside, folder / "tests"):
            path.mkdir()
        (folder / "promotion.yml").write_text(POLICY)
        places = {name: {"uri": url} for name, url in urls.items()}
        places["staging"] |= {"token_env": "STAGING_TOKEN"}
        (folder / "mlflow-migration.yml").write_text(yaml.safe_dump({"places": places}))
        (folder / "tests/test_ours.py").write_text("def test_ours() -> None:\n    assert True\n")
        (self.outside / "gh").write_text(GH)
        (self.outside / "gh").chmod(0o755)

    def read(self, name: str) -> Any:
        return yaml.safe_load((self.folder / name).read_text())

    def run(self, scripts: list[str], variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run shell lines as a runner does: one shell, which ends at the first that fails."""
        env = servers.clean_environment({name: _filled(value) for name, value in variables.items()})
        here = Path(sys.executable).parent
        env |= {"PATH": f"{self.outside}:{here}:{os.environ['PATH']}", "COMMENTS": str(self.outside)}
        command = ["bash", "--noprofile", "--norc", "-e", "-c", "\n".join(scripts)]
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=240, check=False
        )


@pytest.fixture
def urls(make_server: ServerFactory) -> dict[str, str]:
    return {name: make_server().url for name in ("dev", "staging", "prod")}


@pytest.fixture
def repository(urls: dict[str, str], tmp_path: Path) -> Iterator[Repository]:
    with training(urls["dev"]) as trainer:
        trainer.train(Week(1))
    yield Repository(tmp_path / "churn", urls)


def _champion(url: str) -> str | None:
    query = {"name": "churn", "alias": "champion"}
    found = requests.get(f"{url}/api/2.0/mlflow/registered-models/alias", params=query, timeout=30)
    return str(found.json()["model_version"]["version"]) if found.ok else None


def _github_job(repository: Repository, workflow: str, job: str) -> "subprocess.CompletedProcess[str]":
    found = repository.read(f".github/workflows/{workflow}.yml")["jobs"][job]
    # A step of its own for each: variables of one are none of another's.
    for step in (step for step in found["steps"] if "run" in step):
        ended = repository.run([step["run"]], {**found.get("env", {}), **step.get("env", {})})
        if ended.returncode:
            break
    return ended


@pytest.mark.slow
def test_githubs_steps_test_plan_comment_and_promote(
    repository: Repository, urls: dict[str, str], run_tool: Tool
) -> None:
    run_tool("cicd", "init", "--models", "churn", "--repository", repository.folder).expect(0)

    tests = _github_job(repository, "mlflow-pull-request", "tests")
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert "1 passed" in tests.stdout

    plan = _github_job(repository, "mlflow-pull-request", "plan")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert (repository.outside / "words").read_text().split()[:3] == ["pr", "comment", "42"]
    comment = (repository.outside / "comment.md").read_text()
    assert "### Promotion into staging" in comment
    assert "All gates pass." in comment
    assert [_champion(urls[name]) for name in ("staging", "prod")] == [None, None]

    staging = _github_job(repository, "mlflow-promote-staging", "promote")
    assert staging.returncode == 0, staging.stdout + staging.stderr
    assert [_champion(urls[name]) for name in ("staging", "prod")] == ["1", None]

    prod = _github_job(repository, "mlflow-promote-prod", "promote")
    assert prod.returncode == 0, prod.stdout + prod.stderr
    assert _champion(urls["prod"]) == "1"
    assert "of staging" not in prod.stdout + prod.stderr


def test_a_plan_that_a_gate_refuses_is_a_comment_and_a_promotion_then_fails(
    repository: Repository, urls: dict[str, str], run_tool: Tool
) -> None:
    gates = (
        "      - {gate: required, tags: [owner, approved_by]}\n      - {gate: tag_value, tag: risk, one_of: [low]}\n"
    )
    text = POLICY.replace("      - {gate: required, tags: [owner]}\n", gates)
    (repository.folder / "promotion.yml").write_text(text)
    tag = {"name": "churn", "version": "1", "key": "risk", "value": HOSTILE}
    requests.post(f"{urls['dev']}/api/2.0/mlflow/model-versions/set-tag", json=tag, timeout=30).raise_for_status()
    run_tool("cicd", "init", "--models", "churn", "--repository", repository.folder).expect(0)
    variables = {"MODELS": "churn", "STAGING_TOKEN": "of staging"}
    plan = repository.run(["sh ci/mlflow-plan.sh staging"], variables)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "A gate refuses." in plan.stdout
    assert "approved_by" in plan.stdout
    _is_harmless(plan, HOSTILE)
    # What ends a block of code in Markdown does so at the beginning of a line only.
    assert (repository.folder / "plan.md").read_text().count("\n```") == 2
    promoted = repository.run(["sh ci/mlflow-promote.sh staging"], variables)
    assert promoted.returncode == 5, promoted.stdout + promoted.stderr
    _is_harmless(promoted, HOSTILE)
    assert _champion(urls["staging"]) is None


def _is_harmless(ended: "subprocess.CompletedProcess[str]", hostile: str) -> None:
    """Nothing that a runner reads as a command is in what was printed, though the tag's words are."""
    printed = ended.stdout + ended.stderr
    assert "setvariable" in printed
    assert hostile not in printed
    assert not re.search(r"##(vso)?\[|^\s*::|\x1b", printed, re.MULTILINE)


@pytest.mark.slow
def test_a_plan_that_cannot_be_made_fails_and_says_so_in_its_comment(repository: Repository, run_tool: Tool) -> None:
    run_tool("cicd", "init", "--models", "churn,absent", "--repository", repository.folder).expect(0)
    plan = repository.run(["sh ci/mlflow-plan.sh staging"], {"MODELS": "absent churn", "STAGING_TOKEN": "of staging"})
    assert plan.returncode not in {0, 5}, plan.stdout
    assert "The plan could not be made" in plan.stdout
    # The other model's is there all the same.
    assert "All gates pass." in plan.stdout


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["gitlab", "azure-devops"])
def test_the_other_providers_steps_promote_too(
    provider: str, repository: Repository, urls: dict[str, str], run_tool: Tool
) -> None:
    run_tool("cicd", "init", "--provider", provider, "--models", "churn", "--repository", repository.folder).expect(0)
    for name, scripts, variables in _jobs(repository, provider):
        ended = repository.run(scripts, variables)
        assert ended.returncode == 0, name + ended.stdout + ended.stderr
    assert [_champion(urls[name]) for name in ("staging", "prod")] == ["1", "1"]


def _jobs(repository: Repository, provider: str) -> Iterator[tuple[str, list[str], Mapping[str, str]]]:
    """Every job's name, shell lines and variables, in the order of the file."""
    if provider == "gitlab":
        content = repository.read(".gitlab-ci.yml")
        # What is set in the project's own settings.
        variables = {**content["variables"], "STAGING_TOKEN": "of staging"}
        for name, job in content.items():
            if isinstance(job, dict) and "script" in job:
                yield name, job["script"], variables
        return
    content = repository.read("azure-pipelines.yml")
    for stage in content["stages"]:
        for job in stage["jobs"]:
            steps = job["steps"] if "steps" in job else job["strategy"]["runOnce"]["deploy"]["steps"]
            for step in (step for step in steps if "script" in step):
                yield stage["stage"], [step["script"]], {**content["variables"], **step.get("env", {})}
