"""What a policy can ask of a version: one form for each gate, checked by pydantic, the source of the JSON schema."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Better = Literal["higher", "lower"]
Evidence = Literal["any", "evaluation", "model", "run"]
ENTRY_POINT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Form(BaseModel):
    """A part of a policy: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Gate(Form):
    """What all gates have: a name for reports, the gate's own word where none is given."""

    name: str = Field("", description="What reports call this gate; its kind and subject where none is given.")


class Metric(Gate):
    """A metric against a threshold, against the holder of an alias at the destination, or both."""

    gate: Literal["metric"]
    metric: str = Field(min_length=1, description="The metric's key.")
    at_least: float | None = Field(None, description="The lowest value that passes.")
    at_most: float | None = Field(None, description="The highest value that passes.")
    than: str = Field(
        "", description="An alias at the destination whose version is to be beaten; without a holder it passes."
    )
    better: Better = Field("higher", description="Which values are better.")
    margin: float = Field(
        0.0, description="By how much at least it is to be better; below 0, by how much it may be worse."
    )
    evidence: Evidence = Field(
        "any",
        description="Where the value is looked for: the runs that evaluated the model, the logged model, the run that "
        "made it; any: in this order.",
    )
    dataset: str = Field("", description="Only values that were measured on the dataset of this name (logged model).")

    @model_validator(mode="after")
    def _asks_for_something(self) -> Metric:
        if self.at_least is None and self.at_most is None and not self.than:
            raise ValueError("give at_least, at_most or than")
        return self


class Slices(Gate):
    """No slice gets worse than that of an alias's holder by more than `by_at_most`."""

    gate: Literal["slices"]
    metrics: str = Field(min_length=1, description="A glob of metrics' keys, one for each slice, such as recall_*.")
    than: str = Field("champion", description="The alias at the destination to compare with.")
    better: Better = Field("higher", description="Which values are better.")
    by_at_most: float = Field(0.0, ge=0, description="By how much a slice may get worse.")
    evidence: Evidence = Field("any", description="Where the values are looked for, as of the gate metric.")


class Required(Gate):
    """Params, metrics, tags and artifacts that have to be there."""

    gate: Literal["required"]
    params: tuple[str, ...] = Field((), description="Keys of params of the run or the logged model.")
    metrics: tuple[str, ...] = Field((), description="Keys of metrics, wherever the gate metric looks.")
    tags: tuple[str, ...] = Field(
        (), description="Keys of tags of the version, its logged model, its run or its registered model; not empty."
    )
    artifacts: tuple[str, ...] = Field((), description="Globs of paths in the run, the model or an evaluating run.")

    @model_validator(mode="after")
    def _asks_for_something(self) -> Required:
        if not (self.params or self.metrics or self.tags or self.artifacts):
            raise ValueError("give params, metrics, tags or artifacts")
        return self


class TagValue(Gate):
    """A tag has one of the given values."""

    gate: Literal["tag_value"]
    tag: str = Field(min_length=1, description="The tag's key, looked for as by the gate required.")
    one_of: tuple[str, ...] = Field(min_length=1, description="The values that pass.")


class Signature(Gate):
    """The model has a signature with inputs and outputs."""

    gate: Literal["signature"]


class InputExample(Gate):
    """The model has an input example."""

    gate: Literal["input_example"]


class PinnedRequirements(Gate):
    """The model's requirements.txt is there, and each requirement names one version."""

    gate: Literal["pinned_requirements"]


class Flavour(Gate):
    """The model is of an allowed flavour."""

    gate: Literal["flavour"]
    allowed: tuple[str, ...] = Field(
        min_length=1, description="Flavours as MLmodel names them; one of the model's is to be among them."
    )


class SchemaCompatible(Gate):
    """Who calls the holder of an alias can call this version: nothing more is required, no output changes."""

    gate: Literal["schema_compatible"]
    than: str = Field("champion", description="The alias at the destination to compare with.")


class RunFinished(Gate):
    """The run that made the model is FINISHED."""

    gate: Literal["run_finished"]


class MaximumAge(Gate):
    """The version is not older than so many days."""

    gate: Literal["maximum_age"]
    days: float = Field(gt=0, description="Counted from when the run ended, or else the version was made.")


class DataDocumented(Gate):
    """The run names the datasets it used (`mlflow.log_input`)."""

    gate: Literal["data_documented"]
    context: str = Field("", description="At least one of them with this context, such as training.")


class Reproducible(Gate):
    """Commit, params and environment are recorded."""

    gate: Literal["reproducible"]
    commit_tag: str = Field(
        "mlflow.source.git.commit", description="The tag that holds the commit, looked for as by the gate required."
    )


class Loads(Gate):
    """The model loads in a clean process and predicts on its input example. Loading runs the model's code."""

    gate: Literal["loads"]
    with_env: bool = Field(
        False, description="In a virtual environment of its own, made of the model's requirements.txt."
    )
    seconds: float = Field(600.0, gt=0, description="How long this may take.")


class Check(Gate):
    """A check of your own: a command, or a Python function, gets JSON and answers with JSON."""

    gate: Literal["check"]
    command: tuple[str, ...] = Field(
        (), description="Program and arguments, run in the policy's folder without a shell: JSON on stdin and stdout."
    )
    python: str = Field("", description="module:function, looked for in the policy's folder too: dict → dict.")
    seconds: float = Field(60.0, gt=0, description="How long this may take.")

    @model_validator(mode="after")
    def _asks_for_one(self) -> Check:
        if bool(self.command) == bool(self.python):
            raise ValueError("give command or python")
        if self.python and not ENTRY_POINT.fullmatch(self.python):
            raise ValueError("python is to be written module:function")
        return self


class Approvals(Gate):
    """So many of the named people approved these very bytes, none of them an author."""

    gate: Literal["approvals"]
    people: tuple[str, ...] = Field(min_length=1, description="Who may approve.")
    needed: int = Field(1, ge=1, description="How many of them have to.")
    tag: str = Field(
        "approve_{environment}",
        description="The version's tag that says approved, as a Databricks deployment job reads it: the name of the "
        "job's approval task.",
    )

    @model_validator(mode="after")
    def _can_be_met(self) -> Approvals:
        if self.needed > len(set(self.people)):
            raise ValueError(f"{self.needed} are needed, and {len(set(self.people))} named")
        return self


AnyGate = Annotated[
    Metric
    | Slices
    | Required
    | TagValue
    | Signature
    | InputExample
    | PinnedRequirements
    | Flavour
    | SchemaCompatible
    | RunFinished
    | MaximumAge
    | DataDocumented
    | Reproducible
    | Loads
    | Check
    | Approvals,
    Field(discriminator="gate"),
]


def title(gate: Gate, kind: str) -> str:
    """What a report calls a gate: its name, or its kind with its subject."""
    subject = ""
    if isinstance(gate, Metric):
        subject = gate.metric
    elif isinstance(gate, Slices):
        subject = gate.metrics
    elif isinstance(gate, TagValue):
        subject = gate.tag
    return gate.name or f"{kind} {subject}".strip()
