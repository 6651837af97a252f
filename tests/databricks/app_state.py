"""What the emulator knows of apps: each app with its deployments, what runs of it, and its logs."""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.databricks import errors
from tests.databricks.app_container import Container
from tests.databricks.state import Client, Workspace

LOG_LINES = 20_000
NOT_DEPLOYED = "App has not been deployed yet. Run your app by deploying source code"


def moment(at: float | None = None) -> str:
    """A time, now without one, as the APIs of apps and Lakebase write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


@dataclass(frozen=True)
class Line:
    """One line of an app's log: from the app's own output (APP) or about it (SYSTEM)."""

    number: int
    source: str
    timestamp: float
    message: str


@dataclass
class Deployment:
    """A deployment as it was asked for, and how far it has come."""

    sent: Mapping[str, Any]
    creator: str
    id: str = field(default_factory=lambda: uuid.uuid1().hex)
    created: str = field(default_factory=moment)
    updated: str = field(default_factory=moment)
    state: str = "IN_PROGRESS"
    message: str = "Deployment in progress"
    artifacts: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    def end(self, state: str, message: str) -> None:
        """It has come to its end."""
        self.updated, self.message, self.state = moment(), message, state


@dataclass
class App:
    """One app. `sent` is what its makers set; `front` is the server at its URL, a `app_front.Front`."""

    name: str
    creator: str
    client: Client
    service_principal: str
    url: str
    front: Any = field(repr=False, default=None)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sent: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=moment)
    updated: str = field(default_factory=moment)
    updater: str = ""
    compute: tuple[str, str] = ("STARTING", "App compute is starting.")
    status: tuple[str, str] = ("UNAVAILABLE", NOT_DEPLOYED)
    update: tuple[str, str] = ("NOT_UPDATED", "")
    active: Deployment | None = None
    pending: Deployment | None = None
    deployments: list[Deployment] = field(default_factory=list)
    # What its start deploys again: the last deployment that succeeded, also after a stop.
    last: Deployment | None = None
    container: Container | None = None
    port: int = 0
    lines: list[Line] = field(default_factory=list, repr=False)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    # Held by whoever starts or ends its process.
    turn: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count, repr=False)

    def log(self, source: str, message: str) -> None:
        """One more line of its log."""
        with self.lock:
            self.lines.append(Line(next(self._numbers), source, time.time(), message))
            del self.lines[:-LOG_LINES]

    def log_after(self, number: int) -> list[Line]:
        """The lines that follow the one of that number."""
        with self.lock:
            return [line for line in self.lines if line.number > number]


@dataclass(frozen=True)
class Order:
    """How a test wants a deployment to end: FAILED, CANCELLED or CRASHED (after it has SUCCEEDED).

    `wait` leaves it in progress so many seconds before.
    """

    state: str
    message: str = ""
    wait: float = 0


@dataclass
class Apps:
    """The apps of one workspace, how long things take here, and what tests ordered.

    `index` names what can be installed beside what is here: versions by package. `host` is the `Host` header the front
    sends to apps, what the caller sent when empty. `overlap` starts a deployment's process before it ends the last one.
    """

    held: dict[str, App] = field(default_factory=dict)
    start_seconds: float = 0.2
    delete_seconds: float = 0.5
    build_seconds: float = 0.0
    settle_seconds: float = 0.5
    stop_seconds: float = 15.0
    keep_alive_seconds: float = 5.0
    overlap: bool = False
    host: str = ""
    deploys_at_create: bool = False
    index: dict[str, set[str]] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)

    def order(self, state: str, message: str = "", wait: float = 0) -> None:
        """For tests: the next deployment ends like this."""
        self.orders.append(Order(state, message, wait))

    def close(self) -> None:
        """End everything that runs."""
        for app in list(self.held.values()):
            end(app)
        self.held.clear()


def apps(workspace: Workspace) -> Apps:
    """The workspace's apps."""
    return workspace.part(Apps)


def named(workspace: Workspace, name: str) -> App:
    """The app of that name; raises ApiError 404."""
    found = apps(workspace).held.get(name)
    if not found:
        raise errors.missing(f"App with name {name} does not exist or is deleted.")
    return found


def end(app: App, seconds: float = 0) -> None:
    """The app's process and its front are gone."""
    if app.pending:
        app.pending.cancelled.set()
    with app.turn:
        stop(app, seconds)
        if app.front:
            app.front.stop()


def stop(app: App, seconds: float) -> None:
    """End the app's process, if there is one: SIGTERM, and SIGKILL after so many seconds."""
    with app.turn:
        container, app.container = app.container, None
        if container:
            code = container.stop(seconds)
            app.log("SYSTEM", f"App stopped with exit code {code}")


def in_background(do: Callable[[], None]) -> None:
    """Carry something out while the request that asked for it is answered."""
    threading.Thread(target=do, daemon=True).start()
