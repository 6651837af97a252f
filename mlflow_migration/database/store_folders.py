"""The folders of a file store, as MLflow's own migration of it (`mlflow.store.fs2db`) is shown them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlflow_migration.records import Json

if sys.platform == "win32":
    from pathlib import WindowsPath as SystemPath
else:
    from pathlib import PosixPath as SystemPath

META = "meta.yaml"
TRACE = "trace_info.yaml"
TRASH, MODELS, TRACES, DATASETS, TAGS = ".trash", "models", "traces", "datasets", "tags"
NO_RUNS = frozenset({TAGS, DATASETS, TRACES, MODELS, TRASH})
"""The folders of an experiment that are no runs."""
ARTIFACTS = "artifacts"
WORDS = 4
"""Of a logged model's point: time, value, step, run; those of a dataset have its name and digest, too."""


class Exact(SystemPath):
    """A path whose text is read as MLflow's file store does: UTF-8 everywhere, and line ends stay as they are."""

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")


class Points(Exact):
    """A run's metrics, each point once: a file store keeps one that was logged twice, tables have it once."""

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        kept: dict[object, str] = {}
        for line in super().read_text(encoding, errors).splitlines():
            kept.setdefault(_point(line), line)
        return "\n".join(kept.values())


class ModelPoints(Exact):
    """A logged model's metrics, those that tables can hold."""

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        return "\n".join(holdable(super().read_text(encoding, errors)))


def _point(line: str) -> object:
    """What tells two points of a key apart in MLflow's tables; a line that is no point is itself."""
    from mlflow.store.fs2db._tracking import _parse_metric_line, _sanitize_metric_value

    try:
        time, value, step = _parse_metric_line(line)
    except ValueError:
        return line
    return time, step, _sanitize_metric_value(value)


def bad_point(metrics: Path) -> str:
    """The first line below a folder of metrics that is no point, and where it stands; "" where all are."""
    for path in sorted(metrics.rglob("*")):
        for number, line in enumerate(Exact(path).read_text().splitlines() if path.is_file() else (), 1):
            if isinstance(_point(line), str):
                return f"line {number} of {path} is no metric point: {line[:80]!r}"
    return ""


def holdable(text: str) -> list[str]:
    """The points of a logged model's metric that tables can hold: numbers, one for each time, step and run."""
    kept: dict[tuple[str, ...], str] = {}
    for line in text.splitlines():
        words = line.strip().split(" ")
        if len(words) in {WORDS, WORDS + 2} and words[1].lower() != "nan":
            kept.setdefault((words[0], words[2], words[3]), line)
    return list(kept.values())


def unholdable(metrics: Path) -> Iterator[tuple[str, int]]:
    """The metrics of a logged model that tables can't hold whole, and how many points of each."""
    for path in sorted(metrics.rglob("*")):
        if path.is_file():
            text = Exact(path).read_text()
            lost = set(text.splitlines()) - set(holdable(text))
            if lost:
                yield path.relative_to(metrics).as_posix(), len(lost)


@dataclass(frozen=True)
class Some:
    """A folder with some of its entries: `names` are listed, and `below` stands for folders that are shown in part.
    With `there` it is one even where it isn't on disk."""

    path: Path
    names: Iterable[str] = ()
    below: Mapping[str, Any] = field(default_factory=dict)
    there: bool = False

    @property
    def name(self) -> str:
        return self.path.name

    def is_dir(self) -> bool:
        return self.there or self.path.is_dir()

    def iterdir(self) -> Iterator[Path]:
        return (self.path / name for name in self.names)

    def __truediv__(self, name: str) -> Any:
        return self.below.get(name) or self.path / name


def described(folder: Path, file: str = META) -> tuple[Json, str]:
    """What a folder's file says, and "", or nothing and why not."""
    path = folder / file
    try:
        text = Exact(path).read_text()
        found = yaml.load(text, Loader=yaml.CSafeLoader) if yaml.__with_libyaml__ else yaml.safe_load(text)
    except FileNotFoundError:
        return {}, f"{path} isn't there"
    except (OSError, ValueError, yaml.YAMLError) as error:
        return {}, f"{path} can't be read: {' '.join(str(error).split())[:200]}"
    return (found, "") if isinstance(found, dict) else ({}, f"{path} says nothing of it")


def folders(path: Path) -> list[Path]:
    """The folders in a folder, sorted."""
    return sorted(each for each in path.iterdir() if each.is_dir()) if path.is_dir() else []


def is_only_artifacts(folder: Path) -> bool:
    """Whether a folder without a description is one in which something else keeps its artifacts, and no half object."""
    return {each.name for each in folders(folder)} <= {ARTIFACTS}


def is_prompt(folder: Path) -> bool:
    """Whether a registered model is a prompt."""
    return (folder / TAGS / "mlflow.prompt.is_prompt").is_file()
