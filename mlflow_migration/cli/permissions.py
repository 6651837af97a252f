"""The options about permissions: whether they are taken, and who of a source is who at a destination."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mlflow_migration.cli.command import boolean

F = TypeVar("F", bound=Callable[..., Any])

PERMISSIONS = {
    "whole": "Take permissions too: at Databricks those of each experiment and model; of a server with users those and "
    "its users and roles, no passwords. For administrators.",
    "part": "Take the permissions of these experiments and models too, at Databricks. Of a server with users the "
    "commands for whole servers take them.",
}
PRINCIPALS = click.option(
    "--principals",
    metavar="FILE",
    help="With permissions: CSV (source,destination), YAML or JSON that says who at the source is who at the "
    "destination, where one of them is Databricks: users by name, groups by display name, service principals by "
    "application id. Nobody for a name without a destination; everyone else keeps theirs.",
)


def option(name: str, of: str = "whole", gives: bool = True) -> Callable[[F], F]:
    """The option by which a command takes permissions too, and, where it `gives` them, the one that maps principals."""
    takes = boolean(name, False, PERMISSIONS[of])

    def decorate(function: F) -> F:
        return takes(PRINCIPALS(function) if gives else function)

    return decorate
