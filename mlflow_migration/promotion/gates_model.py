"""Gates on the model's own files: signature, example, requirements, flavour, schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.gate_forms import Flavour, InputExample, PinnedRequirements, SchemaCompatible, Signature
from mlflow_migration.promotion.verdicts import Case, Verdict
from mlflow_migration.records import Json

REQUIREMENTS = "requirements.txt"
LARGEST_REQUIREMENTS = 1024 * 1024
PYFUNC = "python_function"
PARTS = ("inputs", "outputs", "params")
HASHED = re.compile(r"[#&]sha(?:256|384|512)=[0-9a-f]+")
COMMITTED = re.compile(r"^git\+[^#]*/[^/#]*@[0-9a-f]{7,64}(?:#|$)")
"""A git address at a commit: a branch or a tag may be moved."""


def signature(gate: Signature, case: Case, name: str) -> Verdict:
    """A signature with inputs and outputs."""
    parts = parts_of(case.version)
    missing = [part for part in ("inputs", "outputs") if not parts[part]]
    found = ", ".join(part for part in PARTS if parts[part]) or "none"
    reason = "" if not missing else f"its MLmodel has no {' and no '.join(missing)} in a signature"
    return Verdict(gate.gate, name, not missing, "inputs, outputs", found, reason)


def input_example(gate: InputExample, case: Case, name: str) -> Verdict:
    """An input example that MLmodel names, and that is there."""
    info = case.version.mlmodel.get("saved_input_example_info")
    path = str(info.get("artifact_path", "")) if isinstance(info, dict) else ""
    there = bool(path) and any(file.path == path for file in case.version.files)
    reason = "" if there else f"{path} is not among its files" if path else "its MLmodel names none"
    return Verdict(gate.gate, name, there, "an input example", path or "none", reason)


def pinned_requirements(gate: PinnedRequirements, case: Case, name: str) -> Verdict:
    """Each requirement with one exact version, or a file or address with a hash or commit."""
    wanted = "every requirement pinned"
    if not any(file.path == REQUIREMENTS for file in case.version.files):
        return Verdict(gate.gate, name, False, wanted, "none", f"it has no {REQUIREMENTS}")
    text = case.version.read(REQUIREMENTS, LARGEST_REQUIREMENTS).decode("utf-8", "replace")
    lines = list(_requirements(text))
    loose = [line for line in lines if not _is_pinned(line)]
    found = f"{len(lines) - len(loose)} of {len(lines)}"
    return Verdict(gate.gate, name, not loose, wanted, found, f"not pinned: {', '.join(loose)}" if loose else "")


def _requirements(text: str) -> Iterator[str]:
    """The lines that ask for something: pip's own options, and its files of constraints, which MLflow writes too, ask
    for nothing more."""
    for line in text.replace("\\\n", " ").splitlines():
        asked = line.partition(" #")[0].strip()
        if (
            asked
            and not asked.startswith("#")
            and not asked.startswith(
                (
                    "-i",
                    "-f",
                    "-c",
                    "--constraint",
                    "--index-url",
                    "--extra-index-url",
                    "--find-links",
                    "--trusted-host",
                    "--no-binary",
                    "--only-binary",
                    "--prefer-binary",
                    "--require-hashes",
                )
            )
        ):
            yield asked


def _is_pinned(line: str) -> bool:
    try:
        asked = Requirement(line.partition(" --hash")[0])
    except InvalidRequirement:
        # -r, -e, a bare path: what it asks for stands elsewhere.
        return False
    if asked.url:
        return HASHED.search(asked.url) is not None or COMMITTED.search(asked.url) is not None
    exact = [each for each in asked.specifier if each.operator in {"==", "==="} and not each.version.endswith(".*")]
    return len(exact) == 1


def flavour(gate: Flavour, case: Case, name: str) -> Verdict:
    """One of the model's flavours is allowed; python_function, which nearly all have, counts only where it is named."""
    flavours = case.version.mlmodel.get("flavors")
    has = sorted(map(str, flavours)) if isinstance(flavours, dict) else []
    own = [each for each in has if each != PYFUNC] or has
    passed = bool(own) and any(each in gate.allowed for each in own)
    reason = "" if passed else f"{', '.join(own) or 'no flavour'} is not allowed"
    return Verdict(gate.gate, name, passed, f"one of {', '.join(gate.allowed)}", ", ".join(has) or "none", reason)


def schema_compatible(gate: SchemaCompatible, case: Case, name: str) -> Verdict:
    """Whoever calls the holder can call this version."""
    than = gate.than or case.alias
    wanted = f"what {than} takes and gives"
    held = case.holder(than)
    if held is None:
        return Verdict(gate.gate, name, True, wanted, f"{than} has no version yet")
    before, now = parts_of(held), parts_of(case.version)
    if not any(before.values()):
        return Verdict(gate.gate, name, True, wanted, f"{than} ({held.id}) has no signature")
    faults = [*_inputs(before["inputs"], now["inputs"]), *_outputs(before["outputs"], now["outputs"])]
    faults += _params(before["params"], now["params"])
    found = f"{len(now['inputs'])} inputs, {len(now['outputs'])} outputs"
    return Verdict(gate.gate, name, not faults, wanted, found, "; ".join(faults))


def _inputs(before: Sequence[Json], now: Sequence[Json]) -> Iterator[str]:
    if before and not now:
        yield "it has no inputs in its signature"
    known = _by_name(before)
    for key, column in _by_name(now).items():
        if key not in known:
            if column.get("required", True):
                yield f"it requires the input {key}, which callers don't send"
        elif _kind(column) != _kind(known[key]):
            yield f"its input {key} is {_kind(column)}, callers send {_kind(known[key])}"
        elif column.get("required", True) and not known[key].get("required", True):
            yield f"it requires the input {key}, which callers may leave out"


def _outputs(before: Sequence[Json], now: Sequence[Json]) -> Iterator[str]:
    given = _by_name(now)
    for key, column in _by_name(before).items():
        if key not in given:
            yield f"it doesn't give the output {key} any more"
        elif _kind(given[key]) != _kind(column):
            yield f"its output {key} is {_kind(given[key])}, callers expect {_kind(column)}"


def _params(before: Sequence[Json], now: Sequence[Json]) -> Iterator[str]:
    takes = _by_name(now)
    for key, param in _by_name(before).items():
        if key not in takes:
            yield f"it doesn't take the param {key} any more"
        elif _kind(takes[key]) != _kind(param):
            yield f"its param {key} is {_kind(takes[key])}, callers send {_kind(param)}"


def _by_name(columns: Sequence[Json]) -> dict[str, Json]:
    """Columns, tensors and params by name; those without one by their place."""
    return {str(column.get("name", f"no. {number}")): column for number, column in enumerate(columns, 1)}


def _kind(column: Mapping[str, Any]) -> str:
    """The type of a column; of nested ones with all that is in it, of tensors with dtype and shape."""
    rest = {key: value for key, value in column.items() if key not in {"name", "required", "default"}}
    plain = rest.get("type") or rest.get("dtype")
    return str(plain) if len(rest) == 1 and isinstance(plain, str) else json.dumps(rest, sort_keys=True)


def parts_of(version: Version) -> dict[str, list[Json]]:
    """Inputs, outputs and params of a signature, each a list, empty where there is none."""
    value = version.mlmodel.get("signature")
    parts = value if isinstance(value, dict) else {}
    return {part: _columns(parts.get(part)) for part in PARTS}


def _columns(text: object) -> list[Json]:
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return []
    return [column for column in found if isinstance(column, dict)] if isinstance(found, list) else []
