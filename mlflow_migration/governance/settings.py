"""The parts of a promotion.yml that concern looking: the environments, and what `audit` looks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from mlflow_migration.errors import UsageError
from mlflow_migration.governance.environments import JOURNAL
from mlflow_migration.promotion.audit_forms import Audit

LARGEST = 1024 * 1024


class _Place(BaseModel):
    """What a walk needs of an environment of the policy."""

    server: str = Field(min_length=1)
    registry: str = ""
    alias: str = ""
    stage: str = ""
    journal: str = JOURNAL


class _Policy(BaseModel):
    """The parts of a promotion.yml that concern looking; the others are `promote`'s."""

    environments: dict[str, _Place] = {}
    path: tuple[str, ...] = ()
    alias: str = ""
    audit: Audit = Audit()

    def looked_for(self) -> Audit:
        """What an audit looks for: versions in use are also those that promotions put there."""
        words = {self.alias, *(word for place in self.environments.values() for word in (place.alias, place.stage))}
        known = (*self.audit.production, *sorted(words - {""}))
        return self.audit.model_copy(update={"production": known})


@dataclass(frozen=True)
class Loaded:
    """The environments' addresses, those of the path last, their journals and registries; and what to look for."""

    addresses: Mapping[str, str]
    journals: Mapping[str, str]
    registries: Mapping[str, str]
    audit: Audit


def load(path: Path) -> Loaded:
    """Read a policy's file. Raises UsageError that names what is wrong and where."""
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"the policy {path} is too large", f"more than {LARGEST} bytes")
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        policy = _Policy.model_validate({} if content is None else content)
    except OSError as error:
        raise UsageError(f"can't read the policy {path}", error.strerror or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the policy {path} is not YAML", " ".join(str(error).split())[:300]) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise UsageError(f"the policy {path} is wrong", faults) from error
    unknown = [name for name in policy.path if name not in policy.environments]
    if unknown:
        raise UsageError(f"the policy {path} is wrong", f"path: no such environment: {', '.join(unknown)}")
    names = (*(name for name in policy.environments if name not in policy.path), *policy.path)
    return Loaded(
        {name: policy.environments[name].server for name in names},
        {name: policy.environments[name].journal for name in names},
        {name: policy.environments[name].registry for name in names if policy.environments[name].registry},
        policy.looked_for(),
    )
