"""`promotion.yml`: the environments, the path through them, and what is asked of a version on its way."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from mlflow_migration.errors import StorageError, UsageError
from mlflow_migration.promotion.gate_forms import AnyGate, Approvals, Form
from mlflow_migration.records import digest_of

FILE = "promotion.yml"
STARTER = Path(__file__).with_name("starter.yml")
LARGEST = 1024 * 1024
ALIAS = r"^[A-Za-z_][\w-]*$"
"""As MLflow takes an alias; `latest` and v1, v2 … are refused by it too."""


class Environment(Form):
    """One MLflow that versions are promoted from or into."""

    server: str = Field(min_length=1, description="The server's address, or @name of the configuration.")
    registry: str = Field("", description="The server of the model registry, where it is another one.")
    model: str = Field("{model}", description="The registered model's name there; {model}, {environment}, {any value}.")
    experiment: str = Field(
        "", description="The experiment that copied runs go into; the one of the source's name where none is given."
    )
    values: dict[str, str] = Field({}, description="What {…} of model and experiment stands for, such as a catalog.")
    protected: bool = Field(
        False, description="A promotion into it needs approvals, a rollback a reason, and nothing may be waived."
    )
    candidate: str = Field("", description="The alias that names what to promote from here, where no version is given.")
    alias: str = Field("", description="The alias of the version in use here, where it is not the policy's.")
    stage: str = Field("", description="For servers that use stages: the stage that a promoted version gets.")
    archive_previous: bool = Field(False, description="With stage: the holder before it gets the stage Archived.")
    journal: str = Field("promotions", min_length=1, description="The experiment of the journal of promotions there.")

    @model_validator(mode="after")
    def _names_can_be_made(self) -> Environment:
        known = {"model", "environment", *self.values}
        for text in (self.model, self.experiment):
            try:
                fields = {field for _, field, _, _ in Formatter().parse(text) if field is not None}
            except ValueError as error:
                raise ValueError(f"{text!r}: {error}") from error
            if fields - known:
                raise ValueError(f"{text!r} names what isn't in values: {', '.join(sorted(fields - known))}")
        return self


class Rule(Form):
    """Gates of the models whose names match."""

    models: str = Field("*", min_length=1, description="A model's name as promotions call it, or a glob.")
    to: tuple[str, ...] = Field((), description="Into these environments only; all where none is named.")
    gates: tuple[AnyGate, ...] = Field(min_length=1, description="All of them have to pass.")


class Policy(Form):
    """A whole `promotion.yml`."""

    version: Literal[1] = Field(description="The version of this format.")
    environments: dict[str, Environment] = Field(min_length=2, description="By name.")
    path: tuple[str, ...] = Field(min_length=2, description="The environments in order; a version goes step by step.")
    alias: str = Field("champion", pattern=ALIAS, description="Of the version in use.")
    challenger: str = Field("challenger", pattern=ALIAS, description="Of a version that is tried beside it.")
    previous: str = Field("previous", pattern=ALIAS, description="Of the version that was in use before.")
    lease_seconds: float = Field(
        60.0, ge=1, description="How long the lock of a promotion that is not heard of counts as held."
    )
    allow_loss: tuple[str, ...] = Field(
        (), description="Kinds of losses of a copy that don't stop a promotion into an unprotected environment."
    )
    rules: tuple[Rule, ...] = Field((), description="All that match a model and an environment apply.")

    @field_validator("path")
    @classmethod
    def _each_once(cls, path: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(path)) != len(path):
            raise ValueError("an environment stands in it twice")
        return path

    @model_validator(mode="after")
    def _names_are_known(self) -> Policy:
        for name in (*self.path, *(name for rule in self.rules for name in rule.to)):
            if name not in self.environments:
                raise ValueError(f"no such environment: {name!r}")
        if len({self.alias, self.challenger, self.previous}) != len(("alias", "challenger", "previous")):
            raise ValueError("alias, challenger and previous are to be three names")
        return self

    def digest(self) -> str:
        """SHA-256 of what the policy says, whatever its comments and order of keys."""
        return digest_of(self.model_dump(mode="json"))

    def gates(self, model: str, to: str) -> tuple[AnyGate, ...]:
        """What is asked of a model on its way into an environment."""
        chosen = [rule for rule in self.rules if fnmatch.fnmatchcase(model, rule.models)]
        return tuple(gate for rule in chosen if not rule.to or to in rule.to for gate in rule.gates)

    def before(self, environment: str) -> str:
        """The environment that versions come from. Raises UsageError for the first one, or one not on the path."""
        self.known(environment)
        place = self.path.index(environment) if environment in self.path else 0
        if place == 0:
            raise UsageError(f"nothing is promoted into {environment!r}", f"the path is {' → '.join(self.path)}")
        return self.path[place - 1]

    def known(self, environment: str) -> Environment:
        """The environment of that name. Raises UsageError where there is none."""
        if environment not in self.environments:
            raise UsageError(f"no such environment: {environment!r}", f"the policy has {', '.join(self.environments)}")
        return self.environments[environment]

    def name_in(self, environment: str, model: str) -> str:
        """What a model is called in an environment."""
        return self._made(environment, model, self.known(environment).model)

    def experiment_in(self, environment: str, model: str) -> str:
        """The one experiment that runs of a model are copied into; "" for those of the source's names."""
        return self._made(environment, model, self.known(environment).experiment)

    def _made(self, environment: str, model: str, pattern: str) -> str:
        return pattern.format(**{**self.known(environment).values, "model": model, "environment": environment})


@dataclass(frozen=True)
class Loaded:
    """A policy and the folder it stands in, where commands of checks are run."""

    policy: Policy
    folder: Path


def load(path: Path) -> Loaded:
    """Read a policy. Raises UsageError that names what is wrong and where."""
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"the policy {path} is too large", f"more than {LARGEST} bytes")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"mlflow-migration promote init --output {FILE} writes one to begin with"
        raise UsageError(f"can't read the policy {path}", error.strerror or str(error), hint) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the policy {path} is not YAML", " ".join(str(error).split())[:300]) from error
    return Loaded(parsed(content, str(path)), path.resolve().parent)


def parsed(content: Any, where: str) -> Policy:
    """A policy of plain values. Raises UsageError with every fault in it."""
    try:
        return Policy.model_validate({} if content is None else content)
    except ValidationError as error:
        faults = "; ".join(_fault(fault) for fault in error.errors())
        raise UsageError(f"the policy {where} is wrong", faults, "see docs/reference/promotion-policy.md") from error


def _fault(fault: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg'].removeprefix('Value error, ')}"


def asks_for_approvals(gates: tuple[AnyGate, ...]) -> bool:
    """Whether people have to agree."""
    return any(isinstance(gate, Approvals) for gate in gates)


def schema() -> str:
    """The JSON schema of a policy."""
    return json.dumps(Policy.model_json_schema(), indent=2) + "\n"


def write_starter(path: Path) -> None:
    """Write an annotated policy to begin with. Raises UsageError where there is a file already, StorageError."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise UsageError(f"there is a file already: {path}", hint="give another --output") from error
    except OSError as error:
        raise StorageError(f"can't write {path}", error.strerror or str(error)) from error
