"""Walking a lineage back: object by object, each once, through every environment, until nothing is left or enough."""

from __future__ import annotations

from collections import deque

from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import AccessError, MigrationError, NotFoundError, UsageError
from mlflow_migration.governance.environments import Environments
from mlflow_migration.governance.graph import PROMPT, SHUT, UNREAD, VERSION, Graph, Growing, Node, Ref
from mlflow_migration.governance.steps import STEPS, At, Step
from mlflow_migration.objects import registry
from mlflow_migration.objects.registry import version_id

LIMIT = 500
"""Objects looked at in one walk, each by a few requests."""


def start_of(environments: Environments, name: str, text: str) -> tuple[Ref, ...]:
    """The versions that `MODEL`, `MODEL/VERSION` or `MODEL@ALIAS` means at an environment: of a model alone, those with
    an alias and the newest. Raises NotFoundError, or UsageError for an alias that is empty."""
    place = environments.open[name]
    model, at, alias = text.rpartition("@")
    if at and (head := place.registry.get_model(model)):
        number = registry.aliases(head).get(alias)
        if number is None:
            held = ", ".join(sorted(registry.aliases(head))) or "none"
            raise NotFoundError(f"{model!r} has no alias {alias!r}", f"at {place.address}: {held}", "check the alias")
        return (_ref(head, name, number),)
    model, slash, number = text.rpartition("/")
    if slash and number.isdigit() and (head := place.registry.get_version(model, number)):
        return (_ref(head, name, number),)
    if not text:
        raise UsageError("no model was given", hint="give MODEL, MODEL/VERSION or MODEL@ALIAS")
    head = place.registry.get_model(text)
    if head is None:
        raise NotFoundError(
            f"no such model or version: {text!r}", f"at {place.address}", "list-registered-models shows what is there"
        )
    numbers = {str(each["version"]) for each in place.registry.search_versions(registry.is_prompt(head), text)}
    if not numbers:
        raise NotFoundError(f"{text!r} has no version", f"at {place.address}")
    chosen = (numbers & set(registry.aliases(head).values())) | {max(numbers, key=int)}
    return tuple(_ref(head, name, number) for number in sorted(chosen, key=int, reverse=True))


def _ref(head: dict[str, object], place: str, number: str) -> Ref:
    return Ref(PROMPT if registry.is_prompt(head) else VERSION, place, version_id(str(head["name"]), number))


def back(environments: Environments, starts: tuple[Ref, ...], limit: int = LIMIT) -> Graph:
    """Everything the starts came from. An object that can't be read is a node that says so, and ends nothing else."""
    walk = _Walk(environments, limit)
    for start in starts:
        walk.meet(start)
    return walk.done(starts)


class _Walk:
    """One walk: what is known, and what is still to be looked at."""

    def __init__(self, environments: Environments, limit: int) -> None:
        self._environments = environments
        self._limit = limit
        self._growing = Growing()
        self._at = {name: At(name, place, environments) for name, place in environments.open.items()}
        self._met: set[str] = set()
        self._next: deque[Ref] = deque()

    def meet(self, ref: Ref) -> None:
        """Look at something, unless it was met before."""
        if ref.key not in self._met:
            self._met.add(ref.key)
            self._next.append(ref)

    def done(self, starts: tuple[Ref, ...]) -> Graph:
        """Go on until nothing is left or the limit is reached."""
        for _ in range(self._limit):
            if not self._next:
                break
            ref = self._next.popleft()
            self._take(ref, self._look(ref))
        cut = f"{len(self._next)} more things were not looked at: --limit is {self._limit}" if self._next else ""
        for ref in self._next:
            self._growing.add(Node(ref.key, ref.kind, ref.id, ref.place, missing="not looked at: the limit is reached"))
        return self._growing.done(tuple(ref.key for ref in starts), cut)

    def _look(self, ref: Ref) -> Step:
        if ref.place in self._environments.shut:
            why = f"{SHUT}: {self._environments.shut[ref.place]}"
            return Step(Node(ref.key, ref.kind, ref.id, ref.place, missing=why))
        found = guarded(lambda: STEPS[ref.kind](self._at[ref.place], ref), ref.kind, ref.id, fatal=())
        if not isinstance(found, MigrationError):
            return found
        if isinstance(found, AccessError):
            # A place that is down is asked no second time: every request would wait as long.
            self._environments.shut[ref.place] = str(found)
        return Step(Node(ref.key, ref.kind, ref.id, ref.place, missing=f"{UNREAD}: {found}"))

    def _take(self, ref: Ref, step: Step) -> None:
        self._growing.add(step.node)
        for label, target in step.ways:
            if isinstance(target, Ref):
                self.meet(target)
                self._growing.join(step.node.id, target.key, label)
            else:
                self._growing.add(target)
                self._growing.join(step.node.id, target.id, label)
