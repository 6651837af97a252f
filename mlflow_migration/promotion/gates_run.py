"""Gates that run something: the model itself, or a check of the user's own. Each in a process of its own."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_migration.bundle.layout import check_artifact_path
from mlflow_migration.errors import ConflictError
from mlflow_migration.promotion import facts
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.gate_forms import Check, Loads
from mlflow_migration.promotion.process import Ended, Program, run
from mlflow_migration.promotion.verdicts import Case, Verdict
from mlflow_migration.records import BLOCK, Json

LOAD_TEST = Path(__file__).with_name("load_test.py")
ENTRY_POINT = Path(__file__).with_name("entry_point.py")
KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "SYSTEMROOT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "PIP_CERT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
)
"""What a model's code may see of the environment: no credentials of any server."""
REQUIREMENTS = "requirements.txt"


def loads(gate: Loads, case: Case, name: str) -> Verdict:
    """The model loads and predicts on its example, by this Python or by one with its own requirements."""
    where = "a virtual environment of its own" if gate.with_env else "a clean process"
    wanted = f"it loads and predicts in {where} within {gate.seconds:g} s"
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-load-") as scratch:
        model, home = Path(scratch) / "model", Path(scratch) / "home"
        home.mkdir()
        fetch(case.version, model)
        environment = {key: os.environ[key] for key in KEPT if key in os.environ}
        environment.update({"HOME": str(home), "TMPDIR": scratch, "MLFLOW_DISABLE_TELEMETRY": "true"})
        ended = _tried(gate, model, environment)
    if ended.code == 0:
        found = _parsed(ended.out)
        if found is not None:
            shown = f"loaded in {found['load_seconds']:.2f} s, {found['rows']} rows in {found['predict_seconds']:.3f} s"
            return Verdict(gate.gate, name, True, wanted, shown)
    reason = (
        f"it took more than {gate.seconds:g} s" if ended.code is None else ended.last_words or f"exit code {ended.code}"
    )
    return Verdict(gate.gate, name, False, wanted, "it failed", reason)


def _tried(gate: Loads, model: Path, environment: Mapping[str, str]) -> Ended:
    """Load it by this Python, or build its own environment first; all within the time."""
    until = time.monotonic() + gate.seconds
    python = sys.executable
    if gate.with_env:
        if not (model / REQUIREMENTS).is_file():
            return Ended(1, "", f"it has no {REQUIREMENTS} to make an environment of")
        made = model.parent / "environment"
        python = str(made / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
        steps = (
            [sys.executable, "-I", "-m", "venv", str(made)],
            [
                python,
                "-I",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
                str(model / REQUIREMENTS),
            ],
        )
        for step in steps:
            ended = run(Program(step, model, environment), "", max(0.1, until - time.monotonic()))
            if ended.code != 0:
                return ended
    command = [python, "-I", str(LOAD_TEST), str(model)]
    return run(Program(command, model.parent, environment), "", max(0.1, until - time.monotonic()))


def fetch(version: Version, folder: Path) -> None:
    """Write a version's files below a folder. Raises ConflictError for a path that would lead out of it."""
    for file in version.files:
        try:
            check_artifact_path(file.path)
        except ValueError as error:
            raise ConflictError(f"version {version.id} has a file that can't be written", str(error)) from error
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.open is None:
            raise ConflictError(f"{file.path} of version {version.id} can't be read", file.problem)
        with file.open() as reader, target.open("wb") as writer:
            shutil.copyfileobj(reader, writer, BLOCK)


def check(gate: Check, case: Case, name: str) -> Verdict:
    """The user's own check: what it answers is the verdict; one that breaks or takes too long refuses."""
    wanted = " ".join(gate.command) or gate.python
    command = list(gate.command) or [sys.executable, "-I", str(ENTRY_POINT), str(case.folder), gate.python]
    try:
        ended = run(Program(command, case.folder, os.environ), json.dumps(context(case)), gate.seconds)
    except OSError as error:
        return Verdict(gate.gate, name, False, wanted, "it can't be run", error.strerror or str(error))
    if ended.code is None:
        return Verdict(gate.gate, name, False, wanted, "no answer", f"it took more than {gate.seconds:g} s")
    if ended.code != 0:
        return Verdict(gate.gate, name, False, wanted, f"exit code {ended.code}", ended.last_words)
    answer = _parsed(ended.out)
    if answer is None or not isinstance(answer.get("passed"), bool):
        reason = 'it is to print one JSON object: {"passed": true or false, "reason": "…"}'
        return Verdict(gate.gate, name, False, wanted, "no verdict", reason)
    passed, reason = answer["passed"], str(answer.get("reason", ""))
    found = str(answer.get("found", "passed" if passed else "refused"))
    return Verdict(
        gate.gate,
        name,
        passed,
        str(answer.get("wanted", wanted)),
        found,
        reason or ("" if passed else "no reason given"),
    )


def _parsed(text: str) -> Json | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def context(case: Case) -> Json:
    """What a check is told: plain JSON without credentials. A number that JSON can't hold is a text, such as "NaN"."""
    held = case.holder(case.alias)
    names = {"model": case.model, "from": case.source, "to": case.destination}
    return {**names, "version": _described(case.version), "holder": _described(held) if held else None}


def _described(version: Version) -> Json:
    keys = sorted(facts.metric_keys(version))
    return {
        "name": version.name,
        "number": version.number,
        "server": version.live.address,
        "digest": version.digest,
        "run_id": version.run["info"]["run_id"] if version.run else None,
        "metrics": {key: _plain(facts.metric(version, key, "any")) for key in keys},
        "params": facts.params(version),
        "tags": facts.all_tags(version),
        "files": [{"path": path, "sha256": digest} for path, digest in version.sums],
    }


def _plain(value: float | None) -> Any:
    return value if value is None or math.isfinite(value) else str(value)
