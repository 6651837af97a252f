"""What a repository's CI is to do: which models go into which environment at which event, and how it logs in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_migration.engine.config import DATABRICKS_SECRETS, SECRETS, PlaceSettings
from mlflow_migration.errors import UsageError
from mlflow_migration.promotion.policy import Policy
from mlflow_migration.server.address import has_workspace_login

OIDC, KEPT = "oidc", "secrets"
"""Federation, where the provider's own short-lived token is traded for one of Databricks; or secrets that are kept."""
TARGETS = ("dev", "test", "staging", "prod")
"""The targets of the bundle; a policy's environment of the same name says which workspace one is."""
MODEL = re.compile(r"[\w.][\w.-]*")
"""Model names as they stand in a shell's list, which blanks part."""
BRANCH = re.compile(r"[\w][\w./-]*")
ENVIRONMENT = re.compile(r"[A-Za-z0-9][\w-]*")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Step:
    """A promotion at a push: the branch, the environment it goes into, and what the job is to be given.

    `secrets`: the variables that hold secrets, by the names the configuration gives them.
    """

    branch: str
    target: str
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What a person asked `cicd init` for."""

    models: tuple[str, ...]
    branches: Mapping[str, str]
    login: str = OIDC


@dataclass(frozen=True)
class Pipeline:
    """All that the templates need.

    `federated`: jobs trade the provider's own token for one of Databricks, for an `audience`. `workspaces` maps a
    target of the bundle to its workspace's address, "" where the policy doesn't tell.
    """

    name: str
    models: tuple[str, ...]
    steps: tuple[Step, ...]
    federated: bool
    audience: str
    workspaces: Mapping[str, str]
    version: str

    @property
    def secrets(self) -> list[str]:
        """The variables that hold secrets, of all steps."""
        return sorted({name for step in self.steps for name in step.secrets})

    def task_key(self, model: str) -> str:
        """A model's task in a job: letters, digits, "-" and "_"."""
        return "promote_" + re.sub(r"[^A-Za-z0-9_-]", "_", model)

    @property
    def first(self) -> Step:
        """What a pull request is planned for."""
        return self.steps[0]


def pipeline(policy: Policy, places: Mapping[str, PlaceSettings], wanted: Wanted, name: str, version: str) -> Pipeline:
    """What the files are to say. Raises UsageError where the policy, the places and what is wanted don't fit."""
    if not wanted.models:
        raise UsageError("no model was given", hint="give --models churn,fraud")
    _matching(MODEL, wanted.models, "a model's name for CI")
    _matching(BRANCH, tuple(wanted.branches), "a branch")
    _matching(ENVIRONMENT, tuple(wanted.branches.values()), "an environment's name for CI")
    steps, federated = [], False
    for branch, target in wanted.branches.items():
        names = (policy.before(target), target)
        on_databricks = any(has_workspace_login(place_of(policy, places, one).uri) for one in names)
        federated = federated or (wanted.login == OIDC and on_databricks)
        secrets = sorted({each for one in names for each in _secrets(policy, places, one, wanted.login)})
        steps.append(Step(branch, target, tuple(secrets)))
    workspaces = {target: _host(policy, places, target) for target in TARGETS}
    audience = next((place.token_audience for place in places.values() if place.token_audience), "databricks")
    return Pipeline(name, wanted.models, tuple(steps), federated, audience, workspaces, version)


def _matching(pattern: re.Pattern[str], texts: tuple[str, ...], what: str) -> None:
    for text in texts:
        if not pattern.fullmatch(text):
            raise UsageError(f"not {what}: {text!r}", f"it is to look like {pattern.pattern}")


def place_of(policy: Policy, places: Mapping[str, PlaceSettings], environment: str) -> PlaceSettings:
    """The place of an environment; one without settings where the policy has a bare address.

    Raises UsageError for an `@name` that the configuration hasn't.
    """
    return place_at(places, policy.known(environment).server, environment)


def place_at(places: Mapping[str, PlaceSettings], server: str, environment: str) -> PlaceSettings:
    """The place of an address that an environment names. Raises UsageError as `place_of` does."""
    if not server.startswith("@"):
        return PlaceSettings(uri=server)
    if server[1:] not in places:
        raise UsageError(
            f"the environment {environment!r} is the place {server}, which isn't defined",
            hint="define it in mlflow-migration.yml, beside the policy: the CI reads it too",
        )
    return places[server[1:]]


def _secrets(policy: Policy, places: Mapping[str, PlaceSettings], environment: str, login: str) -> list[str]:
    place = place_of(policy, places, environment)
    for secret in SECRETS + DATABRICKS_SECRETS:
        if getattr(place, secret):
            raise UsageError(
                f"a secret of {place.uri} stands in the configuration: {secret}",
                "a repository's files are no place for secrets",
                f"name a variable that holds it: {secret}_env: {environment.upper()}_{secret.upper()}",
            )
    named = [getattr(place, f"{secret}_env") for secret in SECRETS + DATABRICKS_SECRETS]
    found = [name for name in named if name]
    _matching(VARIABLE, tuple(found), "a variable's name")
    if login == KEPT and has_workspace_login(place.uri) and not found:
        raise UsageError(
            f"no secret is named for the environment {environment!r}",
            f"--auth secrets, and {place.uri} has neither token_env nor client_secret_env",
            "name one in mlflow-migration.yml, or use --auth oidc",
        )
    return found


def _host(policy: Policy, places: Mapping[str, PlaceSettings], environment: str) -> str:
    if environment not in policy.environments:
        return ""
    return place_of(policy, places, environment).host or ""
