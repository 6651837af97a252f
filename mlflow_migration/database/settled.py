"""What a source's things are at a database: experiments' numbers and places, models' names, addresses in texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlflow_migration.errors import LeftOutError, NotFoundError

OF_PEOPLE = frozenset({"mlflow.note.content", "mlflow.runName", "mlflow.user"})
"""Tags of MLflow's that a person writes: nothing in them is replaced."""
RenameIn = Callable[[str, str, Callable[[str, str], str]], str]
"""(key, value, (kind, name) → name) of a tag → its value with other names in MLflow's lists of versions."""


@dataclass(frozen=True)
class Place:
    """An experiment at the database: its number there, where its artifacts lie, and where they lay at the source."""

    id: int
    location: str
    before: str


@dataclass
class Settled:
    """Filled while experiments and models are written; read by whatever belongs to them.

    `left_out` are the source's experiments (and `models` those models) that aren't to be written, each with why.
    """

    workspace: str
    rename_in: RenameIn
    experiments: dict[str, Place] = field(default_factory=dict)
    left_out: dict[str, Exception] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    models_left_out: dict[str, Exception] = field(default_factory=dict)

    def place(self, experiment_id: str) -> Place:
        """Raises LeftOutError or NotFoundError where the experiment isn't at the database."""
        found = self.experiments.get(str(experiment_id))
        if found is None and isinstance(self.left_out.get(str(experiment_id)), LeftOutError):
            raise LeftOutError("its experiment is left out", f"source experiment {experiment_id}")
        if found is None:
            raise NotFoundError("its experiment did not arrive", f"source experiment {experiment_id}")
        return found

    def name(self, kind: str, name: str) -> str:
        """What a model or prompt is called there."""
        return self.names.get((kind, name), name)

    def own_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Tags as they stand there: in MLflow's own the addresses of artifacts and the names of models are new."""
        return {
            key: self.text(self.rename_in(key, value, self.name)) if _is_mlflows(key) else value
            for key, value in tags.items()
        }

    def text(self, text: str) -> str:
        """A text with the new addresses of artifacts."""
        if ":/" not in text and "/" not in text:
            return text
        for place in self.experiments.values():
            if place.before and place.before != place.location and place.before in text:
                text = _replaced(text, place.before, place.location)
        return text


def _is_mlflows(key: str) -> bool:
    return key.startswith("mlflow.") and key not in OF_PEOPLE


def _replaced(text: str, before: str, location: str) -> str:
    """The address where it stands as a whole: `…/1` is no part of `…/12`."""
    pattern = re.escape(before.rstrip("/")) + r"(?![\w.-])"
    return re.sub(pattern, lambda _: location.rstrip("/"), text)
