"""Gates on measured values. Latency and cost are metrics too."""

from __future__ import annotations

import fnmatch
import math

from mlflow_migration.promotion import facts
from mlflow_migration.promotion.gate_forms import Metric, Slices
from mlflow_migration.promotion.verdicts import Case, Verdict

ROUNDING = 1e-9
"""What a margin may be missed by, as decimal fractions aren't exact: 0.8 + 0.1 is more than 0.9."""


def metric(gate: Metric, case: Case, name: str) -> Verdict:
    """A metric against its thresholds and against that of a holder."""
    wanted, against = _bounds(gate), _holder_value(gate, case)
    value = facts.metric(case.version, gate.metric, gate.evidence, gate.dataset)
    if against is not None:
        target = shown(_target(gate.better, against, gate.margin))
        wanted.append(f"{_sign(gate.better)} {target} ({gate.than} has {shown(against)})")
    elif gate.than:
        wanted.append(f"better than {gate.than}'s")
    text = " and ".join(wanted)
    if value is None:
        return Verdict(gate.gate, name, False, text, "none", f"it has no metric {gate.metric!r} ({gate.evidence})")
    faults = []
    # Written so that NaN passes no bound.
    if gate.at_least is not None and not value >= gate.at_least:
        faults.append(f"{shown(value)} is below {shown(gate.at_least)}")
    if gate.at_most is not None and not value <= gate.at_most:
        faults.append(f"{shown(value)} is above {shown(gate.at_most)}")
    if gate.than and not faults:
        faults += _against(gate, case, value, against)
    return Verdict(gate.gate, name, not faults, text, shown(value), "; ".join(faults))


def _bounds(gate: Metric) -> list[str]:
    found = [f">= {shown(gate.at_least)}"] if gate.at_least is not None else []
    return [*found, f"<= {shown(gate.at_most)}"] if gate.at_most is not None else found


def _holder_value(gate: Metric, case: Case) -> float | None:
    held = case.holder(gate.than) if gate.than else None
    return facts.metric(held, gate.metric, gate.evidence, gate.dataset) if held else None


def _against(gate: Metric, case: Case, value: float, against: float | None) -> list[str]:
    held = case.holder(gate.than)
    if held is None:
        return []
    if against is None:
        return [f"{gate.than} ({held.id}) has no metric {gate.metric!r} to compare with"]
    target = _target(gate.better, against, gate.margin)
    if _reaches(gate.better, value, target):
        return []
    return [f"{shown(value)} is not {shown(gate.margin)} better than {shown(against)} of {gate.than} ({held.id})"]


def slices(gate: Slices, case: Case, name: str) -> Verdict:
    """Each slice of a holder against the same one of the version."""
    wanted = f"no {gate.metrics} worse than {gate.than}'s by more than {shown(gate.by_at_most)}"
    held = case.holder(gate.than)
    if held is None:
        return Verdict(gate.gate, name, True, wanted, f"{gate.than} has no version yet")
    keys = sorted(fnmatch.filter(facts.metric_keys(held), gate.metrics))
    faults, found = [], []
    for key in keys:
        before = facts.metric(held, key, gate.evidence)
        if before is None:
            # Measured, but not where the gate looks.
            continue
        value = facts.metric(case.version, key, gate.evidence)
        if value is None:
            faults.append(f"{key} was not measured, {gate.than} has {shown(before)}")
            continue
        found.append(f"{key} {shown(value)} (was {shown(before)})")
        if not _reaches(gate.better, value, _target(gate.better, before, -gate.by_at_most)):
            faults.append(
                f"{key} falls from {shown(before)} to {shown(value)}"
                if gate.better == "higher"
                else f"{key} rises from {shown(before)} to {shown(value)}"
            )
    if not found and not faults:
        faults.append(f"{gate.than} ({held.id}) has no metric like {gate.metrics!r}")
    return Verdict(gate.gate, name, not faults, wanted, ", ".join(found) or "none", "; ".join(faults))


def _target(better: str, against: float, margin: float) -> float:
    return against + margin if better == "higher" else against - margin


def _reaches(better: str, value: float, target: float) -> bool:
    slack = ROUNDING * max(1.0, abs(target)) if math.isfinite(target) else 0.0
    return value >= target - slack if better == "higher" else value <= target + slack


def _sign(better: str) -> str:
    return ">=" if better == "higher" else "<="


def shown(value: float) -> str:
    """A value as a person reads it."""
    return f"{value:.6g}"
