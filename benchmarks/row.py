"""What is measured: one line of the result."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Amount:
    """How much a move carries: objects (runs, traces, versions, rows), metric points, bytes of artifacts."""

    objects: int
    points: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Row:
    """One measured move. `lost` names what did not arrive (empty: all of it did).

    `seconds` is wall time, for the bare client without the start of its interpreter; `cpu_seconds` is what the moving
    process itself computed; `peak_bytes` its largest resident memory; `requests` what the servers' logs count.
    """

    scenario: str
    action: str
    tool: str
    amount: Amount
    seconds: float
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    requests: int = 0
    exit_code: int = 0
    lost: str = ""

    @property
    def seconds_each(self) -> float:
        """Seconds for one object."""
        return self.seconds / self.amount.objects
