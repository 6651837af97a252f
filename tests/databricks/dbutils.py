"""The part of Databricks' `dbutils` that notebooks of this project use, as the platform behaves."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

PREVIEW = 65536
"""So many bytes of a file `dbutils.fs.head` gives."""


class NotebookExit(Exception):
    """What `dbutils.notebook.exit` ends a notebook with."""


class InputWidgetNotDefined(Exception):
    """A widget was asked for that nobody made."""


@dataclass(frozen=True)
class Widget:
    """A widget as it was made."""

    kind: str
    default: str
    choices: tuple[str, ...]
    label: str


@dataclass
class Widgets:
    """Widgets; `given` are the values a job binds, which go before the defaults."""

    given: Mapping[str, str] = field(default_factory=dict)
    made: dict[str, Widget] = field(default_factory=dict)

    def text(self, name: str, default: str, label: str = "") -> None:
        """A line to type in. One that is there stays as it is."""
        self.made.setdefault(name, Widget("text", default, (), label))

    def dropdown(self, name: str, default: str, choices: Sequence[str], label: str = "") -> None:
        """One of the choices."""
        self._of(Widget("dropdown", default, tuple(choices), label), name)

    def combobox(self, name: str, default: str, choices: Sequence[str], label: str = "") -> None:
        """One of the choices, or a text."""
        self.made.setdefault(name, Widget("combobox", default, tuple(choices), label))

    def multiselect(self, name: str, default: str, choices: Sequence[str], label: str = "") -> None:
        """Some of the choices, given as one text with commas."""
        self._of(Widget("multiselect", default, tuple(choices), label), name)

    def _of(self, widget: Widget, name: str) -> None:
        if not all(isinstance(choice, str) and choice for choice in widget.choices) or len(widget.choices) > 1024:
            raise ValueError(f"widget {name}: choices are texts, at most 1,024 of them")
        if widget.default not in widget.choices:
            raise ValueError(f"widget {name}: the default value {widget.default!r} must be in choices")
        self.made.setdefault(name, widget)

    def get(self, name: str) -> str:
        """A widget's value."""
        if name not in self.made and name not in self.given:
            raise InputWidgetNotDefined(f"No input widget named {name} is defined")
        return self.given[name] if name in self.given else self.made[name].default

    # Named as the platform names it.
    def getAll(self) -> dict[str, str]:
        """All values by name, those a job binds without a widget too."""
        return {name: widget.default for name, widget in self.made.items()} | dict(self.given)

    def remove(self, name: str) -> None:
        """Take one away."""
        if name not in self.made:
            raise InputWidgetNotDefined(f"No input widget named {name} is defined")
        del self.made[name]

    def removeAll(self) -> None:
        """Take all away."""
        self.made.clear()


class Notebook:
    """`dbutils.notebook`."""

    def exit(self, value: str) -> None:
        """End the notebook with a value."""
        raise NotebookExit(value)


class Library:
    """`dbutils.library`."""

    def __init__(self) -> None:
        self.restarts = 0

    def restartPython(self) -> None:
        """Python begins anew: the caller forgets all names."""
        self.restarts += 1


class Secrets:
    """`dbutils.secrets`, asked of the workspace the notebook runs in."""

    def get(self, scope: str, key: str) -> str:
        """A secret's text."""
        answer = requests.get(
            os.environ["DATABRICKS_HOST"] + "/api/2.0/secrets/get",
            params={"scope": scope, "key": key},
            headers={"Authorization": f"Bearer {os.environ['DATABRICKS_TOKEN']}"},
            timeout=30,
        )
        answer.raise_for_status()
        return base64.b64decode(answer.json()["value"]).decode()


class Fs:
    """`dbutils.fs` for paths of this machine."""

    def ls(self, path: str) -> list[str]:
        """What is in a folder."""
        return sorted(str(each) for each in Path(path).iterdir())

    def mkdirs(self, path: str) -> bool:
        """Make a folder and those above it."""
        Path(path).mkdir(parents=True, exist_ok=True)
        return True

    def head(self, path: str, most: int = PREVIEW) -> str:
        """A file's first bytes as text."""
        with Path(path).open("rb") as file:
            return file.read(most).decode("utf-8", "replace")


class DbUtils:
    """`dbutils` of one run of a notebook."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.widgets = Widgets(given)
        self.notebook = Notebook()
        self.library = Library()
        self.secrets = Secrets()
        self.fs = Fs()
