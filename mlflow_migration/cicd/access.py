"""Whether those that a CI logs in as may do in Unity Catalog what promotions do there, environment by environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlflow_migration import check_access
from mlflow_migration.check_access import Access, Targets
from mlflow_migration.cicd.steps import place_at
from mlflow_migration.engine.config import PlaceSettings
from mlflow_migration.errors import UsageError
from mlflow_migration.promotion.policy import Policy
from mlflow_migration.records import Json
from mlflow_migration.server.address import DATABRICKS_UC
from mlflow_migration.server.databricks.grants import MODEL, Grants
from mlflow_migration.server.databricks.principals import Principals
from mlflow_migration.server.rest import Rest

Opener = Callable[[str], Rest]
"""From an address or `@name` to what speaks to that workspace; who asked for it closes it."""
LEVELS = 3
READS, WRITES, MOVES = "export", "import", "alias"
ANY_MODEL = "any_model"


@dataclass(frozen=True)
class Asked:
    """Who is asked about: the principal of each environment, "" for all others; and the models, none for any model."""

    principals: Mapping[str, str]
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rights:
    """What was found out of one environment: what its principal has, or `problem`, why that can't be told.

    `asked` is False where there is nothing to ask: Unity Catalog has no part in the environment.
    """

    environment: str
    found: tuple[Access, ...] = ()
    problem: str = ""
    asked: bool = True

    @property
    def statements(self) -> list[str]:
        """What grants all that is missing, each once."""
        missing = [finding.statement for access in self.found for finding in access.missing]
        return list(dict.fromkeys(missing))

    @property
    def is_wanting(self) -> bool:
        """Whether a promotion would fail there."""
        return self.asked and bool(self.problem or self.statements)

    def as_json(self) -> Json:
        return {
            "environment": self.environment,
            "asked": self.asked,
            "problem": self.problem,
            "found": [access.as_json() for access in self.found],
            "statements": self.statements,
        }


def principals(given: Sequence[str], policy: Policy) -> dict[str, str]:
    """From `NAME` or `ENVIRONMENT=NAME` to a name by environment, with "" for the others."""
    found: dict[str, str] = {}
    for text in given:
        environment, separator, name = text.partition("=")
        if separator and environment in policy.environments:
            found[environment] = name
        else:
            found[""] = text
    return found


def check(policy: Policy, places: Mapping[str, PlaceSettings], asked: Asked, opener: Opener) -> list[Rights]:
    """Each environment of the path in its order: whether its principal has what a promotion needs there.

    Versions are only read in the first one, and written in all others. The principal is the one that is named, else
    the `client_id` of the place, else whoever asks. Raises UsageError where no environment is of Unity Catalog,
    ForbiddenError where these credentials may not ask, AccessError where a workspace can't be asked at all.
    """
    found = [_rights(policy, places, (name, asked), opener) for name in policy.path]
    if not any(each.asked for each in found):
        why = "; ".join(f"{each.environment}: {each.problem}" for each in found)
        raise UsageError("no environment of the policy has privileges to ask for", why, "leave --access out")
    return found


def _rights(policy: Policy, places: Mapping[str, PlaceSettings], what: tuple[str, Asked], opener: Opener) -> Rights:
    environment, asked = what
    settings = policy.known(environment)
    address = settings.registry or settings.server
    place = place_at(places, address, environment)
    if place.uri.partition("://")[0] != DATABRICKS_UC:
        return Rights(environment, problem="its registry is not Unity Catalog's", asked=False)
    try:
        targets = [_targets(policy, environment, model) for model in asked.models or (ANY_MODEL,)]
        rest = opener(address)
        try:
            with rest.hurried():
                named = asked.principals.get(environment) or asked.principals.get("") or place.client_id or ""
                purpose = READS if environment == policy.path[0] else WRITES
                return Rights(environment, tuple(_looked_up(rest, named, targets, purpose)))
        finally:
            rest.close()
    except UsageError as error:
        # A schema, a principal or a secret that isn't there: the other environments are still to be told of.
        return Rights(environment, problem=str(error))


def _targets(policy: Policy, environment: str, model: str) -> Targets:
    """Where a model is in an environment. Raises UsageError for what has not three levels."""
    name = policy.name_in(environment, model)
    parts = name.split(".")
    if len(parts) != LEVELS or not all(parts):
        raise UsageError(f"not a full name of a model: {name!r}", hint="write model: CATALOG.SCHEMA.{model}")
    if model == ANY_MODEL and ANY_MODEL in "".join(parts[:-1]):
        raise UsageError(f"the schema is another one for each model: {name!r}", hint="name the models with --models")
    return Targets(parts[0], f"{parts[0]}.{parts[1]}", "" if model == ANY_MODEL else name)


def _looked_up(rest: Rest, named: str, targets: Sequence[Targets], purpose: str) -> Iterator[Access]:
    # Anybody may ask who they are, but not everybody who others are.
    name = "" if Principals(rest).me().name == named else named
    for target in targets:
        is_there = bool(target.model) and Grants(rest).head(MODEL, target.model) is not None
        # Who makes a model owns it, and may move its aliases then.
        wanted = [WRITES, MOVES] if is_there and purpose == WRITES else [purpose]
        about = target if is_there else Targets(target.catalog, target.schema)
        yield check_access.check(rest, name, check_access.needs(wanted, about))
