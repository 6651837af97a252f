"""The environments that commands look at together: from what a person typed to open places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.calls import Readable
from mlflow_migration.cli.later import environments, opening, settings, step
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import AccessError, UsageError

if TYPE_CHECKING:
    from mlflow_migration.governance.environments import Environments

HERE = "here"
"""The name of an environment that was given without one."""
SERVERS = click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="NAME=ADDRESS",
    help="A further environment to walk into. Its credentials: @name of the configuration, or "
    "MLFLOW_MIGRATION_NAME_TOKEN and the like. Repeatable.",
)
SAME = click.option(
    "--same-place",
    "same",
    multiple=True,
    metavar="OLD=NEW",
    help="The address OLD, which copies were made from, is reached at NEW now. Repeatable.",
)
POLICY = click.option("--policy", metavar="FILE", help="A promotion.yml, whose environments are walked into.")
OUTPUT = click.option("--output", metavar="FILE", help="Write to FILE instead of stdout.")


@dataclass(frozen=True)
class _Known:
    """The environments that were named: their addresses, and journals and registries where they aren't the usual."""

    addresses: dict[str, str] = field(default_factory=dict)
    journals: Mapping[str, str] = field(default_factory=dict)
    registries: Mapping[str, str] = field(default_factory=dict)

    def open(self, name: str, common: Common) -> Readable:
        """The place of an environment, with its registry. Raises UsageError, AccessError."""
        # Credentials of one server never go to another: each environment has a role of its own.
        role = re.sub(r"\W", "_", name).upper()
        if name not in self.registries:
            return opening.readable(self.addresses[name], role, common)
        tracking = opening.server(self.addresses[name], role, common)
        return step.joined(tracking, opening.server(self.registries[name], role, common))


def opened(given: Mapping[str, Any], common: Common) -> tuple[str, Environments]:
    """The name of the environment to begin at, and all of them. One that can't be reached is shut, but for the first.

    Raises UsageError, AccessError.
    """
    known = _known(given["policy"], given["servers"])
    start = given["tracking_uri"]
    if start is None and known.addresses and given["policy"]:
        start = list(known.addresses)[-1]
    if start in known.addresses:
        first = known.open(start, common)
    else:
        first, start = opening.readable(start, "SRC", common), HERE
    open_: dict[str, Readable] = {start: first}
    shut: dict[str, str] = {}
    for name in known.addresses:
        if name == start:
            continue
        try:
            place = known.open(name, common)
        except AccessError as error:
            shut[name] = str(error)
            continue
        if start == HERE and place.address == first.address:
            # The place was given by its address and has a name too.
            open_[name], start = open_.pop(HERE), name
        elif all(place.address != other.address for other in open_.values()):
            open_[name] = place
    same = dict(_pair(text) for text in given["same"])
    return start, environments.Environments(open_, shut, known.addresses, same, known.journals)


def _known(policy: str | None, servers: tuple[str, ...]) -> _Known:
    """The environments of a policy, those of its path last, and then those of `--server`."""
    known = _Known()
    if policy is not None:
        read = settings.load(Path(policy))
        known = _Known(dict(read.addresses), read.journals, read.registries)
    for pair in servers:
        name, sign, address = pair.partition("=")
        if not sign or not name or not address:
            raise UsageError(f"not an environment: {pair!r}", hint="write --server NAME=ADDRESS")
        known.addresses[name] = address
    return known


def _pair(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not sign or not old or not new:
        raise UsageError(f"not two addresses: {text!r}", hint="write --same-place http://old:5000=http://new:5000")
    return old.rstrip("/"), new.rstrip("/")
