"""What the runtime is told: environment variables that begin with MLFLOW_APP_, and those of the platform."""

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

BACKENDS = ("sqlite", "lakebase", "databricks")
# The address that stands for all of a machine: apps are reached from outside of theirs.
EVERYWHERE = str(IPv4Address(0))
T = TypeVar("T")


class SettingsError(Exception):
    """Something in the environment can't be; the message has one line for each."""


@dataclass(frozen=True)
class Keeping:
    """How often a snapshot is made, which ones stay, and after how long a silent writer counts as gone."""

    seconds: float
    newest: int
    days: int
    lease_seconds: float
    start_empty: bool


@dataclass(frozen=True)
class Lakebase:
    """Where the database is and whose tokens open it.

    `endpoint` (projects/P/branches/B/endpoints/E) or `instance` is asked for tokens; `password_file` holds a password
    that somebody else keeps fresh.
    """

    host: str
    port: int
    database: str
    user: str
    sslmode: str
    schema: str
    endpoint: str
    instance: str
    password_file: Path | None


@dataclass(frozen=True)
class Settings:
    """Everything the runtime goes by."""

    name: str
    backend: str
    volume: str
    artifacts: str
    state: Path
    host: str
    port: int
    workers: int
    allowed_hosts: tuple[str, ...]
    require_identity: bool
    job_execution: bool
    experiment_prefix: str
    keeping: Keeping
    lakebase: Lakebase | None
    ui: str = ""

    @property
    def ui_folder(self) -> Path:
        """Where MLflow's pages are put together, of the pieces in the folder `ui`."""
        return self.state / "ui"

    @property
    def status_file(self) -> Path:
        """Where the supervisor writes what the status page shows."""
        return self.state / "status.json"

    @property
    def lock_file(self) -> Path:
        """Locked for as long as the supervisor lives."""
        return self.state / "supervisor.lock"

    @property
    def database_file(self) -> Path:
        """The SQLite file the server works on."""
        return self.state / "mlflow.db"


def read(env: Mapping[str, str]) -> Settings:
    """The settings of an environment; raises SettingsError that names all that is wrong at once."""
    reader = _Reader(env)
    backend = reader.one_of("BACKEND", BACKENDS)
    volume = _anywhere(reader.text("VOLUME").rstrip("/"))
    if backend == "sqlite" and not volume:
        reader.wrong("MLFLOW_APP_VOLUME is needed: where snapshots go, /Volumes/CATALOG/SCHEMA/VOLUME/... or a folder")
    artifacts = _anywhere(reader.text("ARTIFACTS")) or (f"{as_artifact_uri(volume)}/artifacts" if volume else "")
    if backend == "lakebase" and not artifacts:
        reader.wrong("MLFLOW_APP_ARTIFACTS is needed: where artifacts go, dbfs:/Volumes/... or a folder")
    on_platform = bool(env.get("DATABRICKS_APP_NAME"))
    name = reader.text("NAME") or env.get("DATABRICKS_APP_NAME", "") or "mlflow"
    state = reader.text("STATE_DIR") or str(Path(tempfile.gettempdir()) / f"mlflow-app-{_plain(name)}")
    settings = Settings(
        name=name,
        backend=backend,
        volume=volume,
        artifacts=artifacts,
        state=Path(state).absolute(),
        host=reader.text("HOST") or (EVERYWHERE if on_platform else "127.0.0.1"),
        port=reader.number("DATABRICKS_APP_PORT", 8000, int),
        workers=reader.number("MLFLOW_APP_WORKERS", 1, int, least=1),
        allowed_hosts=(*_hosts_of_platform(env), *reader.words("ALLOWED_HOSTS")),
        require_identity=reader.truth("REQUIRE_IDENTITY"),
        job_execution=reader.truth("JOB_EXECUTION"),
        experiment_prefix=reader.text("EXPERIMENT_PREFIX").rstrip("/"),
        keeping=Keeping(
            seconds=reader.number("MLFLOW_APP_SNAPSHOT_SECONDS", 30.0, float, least=0.1),
            newest=reader.number("MLFLOW_APP_KEEP", 24, int, least=1),
            days=reader.number("MLFLOW_APP_KEEP_DAYS", 7, int, least=0),
            lease_seconds=reader.number("MLFLOW_APP_LEASE_SECONDS", 30.0, float, least=1),
            start_empty=reader.truth("START_EMPTY"),
        ),
        lakebase=_lakebase(reader) if backend == "lakebase" else None,
        ui=reader.text("UI"),
    )
    reader.finish()
    return settings


def as_artifact_uri(place: str) -> str:
    """How MLflow is told of a folder: dbfs:/Volumes/... for a Volume, else the place itself."""
    return f"dbfs:{place}" if place.startswith("/Volumes/") else place


def _anywhere(place: str) -> str:
    """A place as all processes find it: the server doesn't work in the folder in which a path was typed."""
    if not place or urlsplit(place).scheme:
        return place
    return str(Path(place).expanduser().absolute())


def databricks_host(env: Mapping[str, str]) -> str:
    """DATABRICKS_HOST with a scheme, which the platform may leave out; empty if there is none."""
    host = env.get("DATABRICKS_HOST", "").strip().rstrip("/")
    return host if not host or "://" in host else f"https://{host}"


def _hosts_of_platform(env: Mapping[str, str]) -> tuple[str, ...]:
    """Hosts the platform gives the app: from DATABRICKS_APP_URL, else as its addresses are made.

    An app's address is NAME-WORKSPACE.REGION.databricksapps.com; the region isn't told to the app.
    """
    if url := env.get("DATABRICKS_APP_URL", ""):
        host = urlsplit(url if "://" in url else f"https://{url}").netloc
        return (host,) if host else ()
    name, workspace = env.get("DATABRICKS_APP_NAME", ""), env.get("DATABRICKS_WORKSPACE_ID", "")
    if not name or not workspace:
        return ()
    return (f"{name}-{workspace}.databricksapps.com", f"{name}-{workspace}.*.databricksapps.com")


def _lakebase(reader: "_Reader") -> Lakebase:
    env = reader.env
    endpoint, instance = reader.text("LAKEBASE_ENDPOINT"), reader.text("LAKEBASE_INSTANCE")
    project, branch = reader.text("LAKEBASE_PROJECT"), reader.text("LAKEBASE_BRANCH")
    if project and branch and endpoint and "/" not in endpoint:
        endpoint = f"projects/{project}/branches/{branch}/endpoints/{endpoint}"
    password_file = reader.text("DATABASE_PASSWORD_FILE")
    if not (endpoint or instance or password_file):
        reader.wrong("MLFLOW_APP_LAKEBASE_ENDPOINT, _LAKEBASE_INSTANCE or _DATABASE_PASSWORD_FILE is needed")
    if find_spec("psycopg2") is None:
        reader.wrong("PostgreSQL's driver isn't installed: pip install psycopg2-binary")
    host, user = env.get("PGHOST", ""), env.get("PGUSER", "") or env.get("DATABRICKS_CLIENT_ID", "")
    if not host or not user:
        reader.wrong("PGHOST and PGUSER (or DATABRICKS_CLIENT_ID) are needed")
    return Lakebase(
        host=host,
        port=reader.number("PGPORT", 5432, int),
        database=reader.text("DATABASE") or env.get("PGDATABASE", "") or "databricks_postgres",
        user=user,
        sslmode=env.get("PGSSLMODE", "") or "require",
        schema=reader.text("SCHEMA"),
        endpoint=endpoint,
        instance=instance,
        password_file=Path(password_file) if password_file else None,
    )


class _Reader:
    """Reads values and remembers what is wrong with them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self._wrong: list[str] = []

    def wrong(self, text: str) -> None:
        self._wrong.append(text)

    def finish(self) -> None:
        if self._wrong:
            raise SettingsError("\n".join(self._wrong))

    def text(self, name: str) -> str:
        return self.env.get(f"MLFLOW_APP_{name}", "").strip()

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in self.text(name).split(",") if word.strip())

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.text(name) or choices[0]
        if value not in choices:
            self.wrong(f"MLFLOW_APP_{name} is {value!r}; it can be {', '.join(choices)}")
        return value

    def truth(self, name: str) -> bool:
        value = self.text(name).lower()
        if value not in ("", "true", "false", "1", "0"):
            self.wrong(f"MLFLOW_APP_{name} is {value!r}; it can be true or false")
        return value in ("true", "1")

    def number(self, name: str, default: T, kind: Callable[[str], T], least: float | None = None) -> T:
        text = self.env.get(name, "").strip()
        try:
            value = kind(text) if text else default
        except ValueError:
            self.wrong(f"{name} is {text!r}, which is no number")
            return default
        if least is not None and float(str(value)) < least:
            self.wrong(f"{name} is {text}; it has to be at least {least:g}")
        return value


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)
