"""The part `audit` of a policy: what `audit run` looks for. Everything has a default, so that no file is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from mlflow_migration.promotion.gate_forms import Form

Severity = Literal["low", "medium", "high"]
Level = Literal["off", "low", "medium", "high"]
SEVERITIES: tuple[str, ...] = ("low", "medium", "high")
RULES: Mapping[str, Severity] = {
    "experiment-of-one": "low",
    "naming": "low",
    "run-metadata": "low",
    "run-stuck": "medium",
    "version-description": "low",
    "version-signature": "medium",
    "version-evidence": "medium",
    "version-owner": "medium",
    "version-unused": "low",
    "origin-untraceable": "high",
    "bytes-differ": "high",
    "traces-unreviewed": "low",
    "champion-stale": "medium",
    "permissions-wide": "high",
}
"""Every rule and how grave a finding of it is."""
PERMISSIONS = ("NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE")
"""MLflow's levels, each wider than the one before (`mlflow/server/auth/permissions.py`, 3.17.2)."""


class Names(Form):
    """Patterns (regular expressions) that whole names have to meet; "" for any name."""

    experiments: str = Field(default="", description="Experiments' names.")
    models: str = Field(default="", description="Registered models' names.")
    runs: str = Field(default="", description="Runs' names.")
    throwaway: str = Field(
        default=r"(?i)(.*/)?(untitled|unnamed|new[ _-]experiment|tests?|testing|te?mp|foo|bar|asdf|xxx|copy[ _-]of.*)"
        r"[ _-]*\d*",
        description="Names of experiments and models that say nothing.",
    )

    @field_validator("*")
    @classmethod
    def _is_a_pattern(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return text


class Runs(Form):
    """What a finished run has to have. Children of other runs are trials and need none of it."""

    params: tuple[str, ...] = Field(default=(), description="Names of params; there has to be one anyway.")
    metrics: tuple[str, ...] = Field(default=(), description="Names of metrics; there has to be one anyway.")
    tags: tuple[str, ...] = Field(default=(), description="Keys of tags.")
    data: bool = Field(default=True, description="A dataset input, or a param or tag whose name begins with data.")
    code: bool = Field(default=True, description="A git commit or a notebook.")
    owner: bool = Field(default=True, description="A user, or a tag of owner_tags.")
    children: bool = Field(default=False, description="Ask the same of runs that have a parent.")
    stuck_hours: float = Field(default=24.0, gt=0, description="A run that is RUNNING for longer is stuck.")


class Audit(Form):
    """The part `audit` of a policy."""

    rules: dict[str, Level] = Field(default={}, description="Severity by rule: low, medium, high, or off.")
    names: Names = Field(default_factory=Names, description="Patterns of names.")
    runs: Runs = Field(default_factory=Runs, description="What a finished run has to have.")
    owner_tags: tuple[str, ...] = Field(default=("owner", "team"), description="Tags that name an owner.")
    evidence_tags: tuple[str, ...] = Field(
        default=("evaluation*", "validation*", "mlflow_migration.promotion*"),
        description="Globs of a version's tags that are evidence of an evaluation, as metrics of its run or model are.",
    )
    production: tuple[str, ...] = Field(
        default=("champion", "prod*"),
        description="Globs of aliases and stages of versions in use, beside those of the policy.",
    )
    unused_days: float = Field(default=90.0, ge=0, description="A version without alias or stage, not the newest.")
    stale_days: float = Field(default=180.0, gt=0, description="A version in use that was made longer ago is stale.")
    review_days: float = Field(default=14.0, ge=0, description="Traces older than this are to have an assessment.")
    digests: Literal["production", "all"] = Field(
        default="production", description="Of which versions the files are read."
    )
    widest: Literal["NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE"] = Field(
        default="READ", description="The most that anybody but an administrator may do with all objects of a type."
    )
    admins: tuple[str, ...] = Field(default=(), description="Who may be an administrator; anybody where none is named.")

    @field_validator("rules")
    @classmethod
    def _rules_are_known(cls, rules: dict[str, Level]) -> dict[str, Level]:
        unknown = sorted(set(rules) - set(RULES))
        if unknown:
            raise ValueError(f"no such rule: {', '.join(unknown)}; there are {', '.join(RULES)}")
        return rules

    def level(self, rule: str) -> Level:
        """How grave a finding of a rule is, or "off"."""
        return self.rules.get(rule, RULES[rule])
