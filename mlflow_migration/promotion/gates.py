"""Every gate of a policy, looked at: a table from a gate's form to the function that decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlflow_migration.promotion import approvals, gates_metrics, gates_model, gates_record, gates_run
from mlflow_migration.promotion import gate_forms as forms
from mlflow_migration.promotion.gate_forms import AnyGate
from mlflow_migration.promotion.verdicts import Case, Verdict

Decides = Callable[[Any, Case, str], Verdict]
DECIDES: Mapping[type[forms.Gate], Decides] = {
    forms.Metric: gates_metrics.metric,
    forms.Slices: gates_metrics.slices,
    forms.Required: gates_record.required,
    forms.TagValue: gates_record.tag_value,
    forms.Signature: gates_model.signature,
    forms.InputExample: gates_model.input_example,
    forms.PinnedRequirements: gates_model.pinned_requirements,
    forms.Flavour: gates_model.flavour,
    forms.SchemaCompatible: gates_model.schema_compatible,
    forms.RunFinished: gates_record.run_finished,
    forms.MaximumAge: gates_record.maximum_age,
    forms.DataDocumented: gates_record.data_documented,
    forms.Reproducible: gates_record.reproducible,
    forms.Approvals: approvals.approvals,
    forms.Check: gates_run.check,
    forms.Loads: gates_run.loads,
}
"""In the order they are looked at: what reads before what runs."""


def decide(asked: tuple[AnyGate, ...], case: Case) -> list[Verdict]:
    """The verdict of every gate. All are looked at, so that a person sees at once all there is to do; but code of the
    model or of a check is run only where nothing else refuses."""
    order = list(DECIDES)
    found: list[Verdict] = []
    for gate in sorted(asked, key=lambda gate: order.index(type(gate))):
        name = forms.title(gate, gate.gate)
        if isinstance(gate, (forms.Loads, forms.Check)) and any(not verdict.passed for verdict in found):
            found.append(Verdict(gate.gate, name, False, "run when all else passes", "not run", "another gate refuses"))
        else:
            found.append(DECIDES[type(gate)](gate, case, name))
    return found
