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


@dataclass(frozen=True)
class _Moved:
    """Experiments whose artifacts get another address, and what all their old ones begin with: most texts hold none of
    them, and there may be thousands. `known` is how many experiments there were when this was found."""

    known: int = 0
    places: list[Place] = field(default_factory=list)
    common: str = ""


@dataclass
class Settled:
    """Filled while experiments and models are written; read by whatever belongs to them.

    `left_out` are the source's experiments that aren't to be written, `models_left_out` those models, each with why.
    `joined` are the experiments of the database's own that are added to. `ids` are those of what is there already under
    another id.
    """

    workspace: str
    rename_in: RenameIn
    experiments: dict[str, Place] = field(default_factory=dict)
    left_out: dict[str, Exception] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    joined: set[int] = field(default_factory=set)
    ids: dict[str, str] = field(default_factory=dict)
    models_left_out: dict[str, Exception] = field(default_factory=dict)
    _moves: _Moved = field(default_factory=_Moved)

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
        moved = self._moved()
        if not moved.places or moved.common not in text:
            return text
        for place in moved.places:
            if place.before in text:
                text = _replaced(text, place.before, place.location)
        return text

    def _moved(self) -> _Moved:
        """The experiments whose artifacts get another address."""
        if self._moves.known != len(self.experiments):
            places = [each for each in self.experiments.values() if each.before and each.before != each.location]
            self._moves = _Moved(len(self.experiments), places, _common([each.before for each in places]))
        return self._moves


def _common(texts: list[str]) -> str:
    """What all texts begin with."""
    first, last = min(texts, default=""), max(texts, default="")
    pairs = zip(first, last, strict=False)
    length = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(last)))
    return first[:length]


def _is_mlflows(key: str) -> bool:
    return key.startswith("mlflow.") and key not in OF_PEOPLE


def _replaced(text: str, before: str, location: str) -> str:
    """The address where it stands as a whole: `…/1` is no part of `…/12`."""
    pattern = re.escape(before.rstrip("/")) + r"(?![\w.-])"
    return re.sub(pattern, lambda _: location.rstrip("/"), text)
