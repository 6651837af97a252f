"""The servers a lineage is walked through, and which of them an origin tag means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow_migration.calls import Readable

JOURNAL = "promotions"


@dataclass
class Environments:
    """Open places by the name of their environment. `shut` are those that couldn't be opened, with the reason.

    `same` maps an address as origin tags have it to the one the place is reached at now: a copy may have been made
    under another name of the server. `journals` are the experiments of their journals, where they aren't JOURNAL.
    """

    open: Mapping[str, Readable]
    shut: dict[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    journals: Mapping[str, str] = field(default_factory=dict)

    def name_of(self, address: str) -> str | None:
        """The environment with this address, open or shut; None where none was given."""
        wanted = _plain(self.same.get(_plain(address), address))
        known = {**self.addresses, **{name: place.address for name, place in self.open.items()}}
        return next((name for name, each in known.items() if _plain(each) == wanted or name == wanted), None)

    def address_of(self, name: str) -> str:
        """Where an environment is."""
        return self.open[name].address if name in self.open else self.addresses.get(name, "")

    def journal_of(self, name: str) -> str:
        """The experiment of the journal of promotions at an environment."""
        return self.journals.get(name, JOURNAL)

    def split(self, text: str) -> tuple[str, str]:
        """`ADDRESS REST`, as `mlflow_migration.added_from` has it, apart: addresses of folders may hold spaces."""
        known = [*self.same, *self.addresses.values(), *(place.address for place in self.open.values())]
        for address in sorted(known, key=len, reverse=True):
            if text.startswith(f"{address} "):
                return address, text[len(address) + 1 :]
        address, _, rest = text.partition(" ")
        return address, rest


def _plain(address: str) -> str:
    return address.rstrip("/")
