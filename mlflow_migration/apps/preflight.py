"""Everything that can be known to be wrong before anything is written: all of it in one list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

from mlflow_migration.apps import lakebase, lakebase_schema, platform, resources, secrets, upload, volume_rights
from mlflow_migration.apps.config import AppConfig, Grant
from mlflow_migration.apps.render import Database, Deployment, Packages
from mlflow_migration.errors import AccessError, ForbiddenError, MigrationError, ServerError, UsageError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks import workspace_files
from mlflow_migration.server.databricks.permissions import ROUTE
from mlflow_migration.server.databricks.principals import GROUP, SERVICE_PRINCIPAL, USER, Principal, Principals
from mlflow_migration.server.rest import Rest

Render = Callable[[AppConfig, Deployment], Mapping[str, bytes]]
HOMES = "/Workspace/Users/"
FOLDER = "mlflow-apps"
"""The folder below whoever deploys, where the configuration names none."""


@dataclass(frozen=True)
class Making:
    """What makes an app's files: `packages` finds what is to be installed, `missing` says
    why the app couldn't install this package itself, `render` writes the files."""

    packages: Callable[[AppConfig], Packages]
    render: Render
    missing: Callable[[AppConfig], str]


@dataclass(frozen=True)
class Ready:
    """What was found: nothing stands against the deployment."""

    me: Principal
    app: Json | None
    source: upload.Source
    packages: Packages
    home: lakebase.Home | None = None
    secret_is_there: bool = False


@dataclass(frozen=True)
class _Found:
    """An app as it is there, its files, and who asks."""

    name: str
    me: Principal
    app: Json | None
    source: upload.Source


@dataclass
class _Faults:
    """What is wrong, gathered."""

    found: list[MigrationError] = field(default_factory=list)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep what a block raises. A workspace that can't be reached ends it all."""
        try:
            yield
        except AccessError:
            raise
        except MigrationError as error:
            self.found.append(error)


def path_of(config: AppConfig, me: Principal) -> str:
    """The folder of the app's files in the workspace."""
    return config.workspace_path.rstrip("/") or f"{HOMES}{me.name}/{FOLDER}/{config.name}"


def check(rest: Rest, config: AppConfig, making: Making, expects: bool | None, passphrase: str = "") -> Ready:
    """Look at everything a deployment needs; nothing is written.

    `expects` says whether the app has to be there already, None for either; `passphrase` is one that exists. Raises
    UsageError or ForbiddenError that names all that is wrong, AccessError where the workspace can't be asked.
    """
    me = Principals(rest).me()
    faults = _Faults()
    source, packages, home, app = upload.Source(path_of(config, me)), None, None, None
    with faults.gathered():
        platform.are_there(rest)
        app = platform.get(rest, config.name)
    with faults.gathered():
        source = _source(rest, config, source.path, me)
    with faults.gathered():
        _app(rest, _Found(config.name, me, app, source), expects)
    with faults.gathered():
        _lasting(config)
    with faults.gathered():
        resources.check(config)
    with faults.gathered():
        packages = making.packages(config)
        if fault := making.missing(config):
            raise UsageError("the app can't install mlflow-migration", fault)
        making.render(config, foreseen(config, packages, None))
    for volume in resources.volumes(config).values():
        with faults.gathered():
            _volume(rest, volume, app)
    there: list[str] | None = None
    with faults.gathered():
        there = _secret(rest, config, app, passphrase)
    if config.backend == "lakebase":
        with faults.gathered():
            lakebase_schema.require_driver()
        with faults.gathered():
            home = _lakebase(rest, config)
    for grant in config.permissions:
        with faults.gathered():
            _principal(rest, grant)
    if faults.found or packages is None:
        raise _all(config.name, faults.found)
    return Ready(me, app, source, packages, home, config.encryption.key in (there or []))


def foreseen(config: AppConfig, packages: Packages, home: lakebase.Home | None, url: str = "") -> Deployment:
    """What `render` is told. The database's host comes from the app's resource."""
    database = Database(endpoint=home.endpoint, instance=home.name if home.is_instance else "") if home else None
    return Deployment(
        packages=packages,
        url=url,
        passphrase_key=resources.PASSPHRASE,
        volume_key=resources.VOLUME if resources.VOLUME in resources.volumes(config) else "",
        database=database,
    )


def _app(rest: Rest, found: _Found, expects: bool | None) -> None:
    app, me, source, name = found.app, found.me, found.source, found.name
    if app is None:
        if expects:
            raise UsageError(f"there is no app {name}", f"at {rest.address}", "mlflow-migration app create makes it")
        return
    # One that was made and never deployed is what an attempt that failed has left: the same command goes on.
    is_begun = not app.get("active_deployment") and app.get("creator") == me.name
    if expects is False and source.app != name and not is_begun:
        raise UsageError(
            f"there is an app {name} already",
            f"made by {app.get('creator')}; its files are not those of this configuration",
            "mlflow-migration app update makes it what the configuration says, or give another name",
        )
    _require_managed(rest, f"apps/{quote(name)}", f"app {name}")


def _source(rest: Rest, config: AppConfig, path: str, me: Principal) -> upload.Source:
    """The folder's content. Raises UsageError where it is no place for the app's files."""
    if path.startswith(HOMES):
        home = HOMES + path.removeprefix(HOMES).partition("/")[0]
        # One's own is made by the first folder in it, as a service principal's is.
        if home != HOMES + me.name and workspace_files.status(rest, home) is None:
            raise UsageError(f"workspace_path: no home folder {home}", "the workspace has no such user")
    source = upload.read(rest, path)
    if source.app not in {"", config.name}:
        raise UsageError(
            f"workspace_path: {path} holds the files of the app {source.app}", "", "give each app a folder of its own"
        )
    if source.others:
        listed = ", ".join(f"{name} ({size} bytes)" for name, size in sorted(source.others.items())[:5])
        more = len(source.others) - 5
        raise UsageError(
            f"workspace_path: {path} holds other files, which would be deployed too",
            listed + (f" and {more} more" if more > 0 else ""),
            "move them away, or give another workspace_path",
        )
    return source


def _volume(rest: Rest, volume: str, app: Json | None) -> None:
    client_id = str((app or {}).get("service_principal_client_id") or "")
    if client_id and volume_rights.is_there(rest, volume) and not volume_rights.missing(rest, volume, client_id):
        return
    volume_rights.require_grantable(rest, volume)


def _secret(rest: Rest, config: AppConfig, app: Json | None, passphrase: str) -> list[str] | None:
    scope = secrets.scope_of(config)
    try:
        there = secrets.keys(rest, scope)
        if there is not None:
            secrets.require_managed(rest, scope)
    except ForbiddenError as error:
        why = f"{error.why}; the app is bound to a secret in it"
        raise ForbiddenError(
            f"MANAGE is needed on the secret scope {scope}", why, "give another encryption.scope"
        ) from error
    if config.encryption.key in (there or ()):
        if passphrase:
            secrets.require_same(rest, config, passphrase)
    elif not passphrase and (bound := _bound(app)) not in {"", f"{scope}/{config.encryption.key}"}:
        raise UsageError(
            f"encryption: the app's passphrase is {bound}",
            f"a new one in {scope}/{config.encryption.key} would make what MLflow has encrypted unreadable",
            f"leave encryption as it was, or give the passphrase in {secrets.VARIABLE}",
        )
    return there


def _bound(app: Json | None) -> str:
    """The secret the app has its passphrase from, "" for none."""
    for each in (app or {}).get("resources") or ():
        if each.get("name") == resources.PASSPHRASE and (secret := each.get("secret")):
            return f"{secret.get('scope')}/{secret.get('key')}"
    return ""


def _lakebase(rest: Rest, config: AppConfig) -> lakebase.Home:
    home = lakebase.home(rest, config)
    if home.is_there:
        kind = "database-instances" if home.is_instance else "database-projects"
        _require_managed(rest, f"{kind}/{quote(home.name)}", f"Lakebase {home}")
    return home


def _require_managed(rest: Rest, target: str, what: str) -> None:
    """Raise ForbiddenError where permissions may not be looked at, which takes CAN_MANAGE."""
    try:
        rest.call("GET", ROUTE + target)
    except ForbiddenError as error:
        raise ForbiddenError(f"CAN_MANAGE is needed on the {what}", error.why, "ask who made it") from error
    except ServerError as error:
        # A kind of object whose permissions this workspace doesn't show yet.
        if error.status != HTTPStatus.NOT_FOUND:
            raise


def _lasting(config: AppConfig) -> None:
    """Raise UsageError where something would be kept on the app's own disk, which goes with every deployment."""
    told = {"volume": config.volume, "artifacts": config.artifacts}
    local = [name for name, place in told.items() if place and not _outlives(place)]
    if local:
        why = "an app's disk goes with every deployment"
        raise UsageError(f"{' and '.join(local)}: no Volume", why, "give /Volumes/CATALOG/SCHEMA/VOLUME/...")


def _outlives(place: str) -> bool:
    return bool(resources.volume_of(place.removeprefix("dbfs:"))) or ("://" in place and not place.startswith("file:"))


def _principal(rest: Rest, grant: Grant) -> None:
    for type_, name in ((USER, grant.user), (GROUP, grant.group), (SERVICE_PRINCIPAL, grant.service_principal)):
        try:
            known = not name or Principals(rest).find(name, type_) is not None
        except ForbiddenError:
            # Who may not look principals up is told by the request that names one.
            known = True
        if not known:
            raise UsageError(f"permissions: there is no {type_.replace('_', ' ')} {name}", f"at {rest.address}")


def _all(name: str, found: list[MigrationError]) -> MigrationError:
    """One error of all: 3 where anything isn't allowed, else 2."""
    kind = ForbiddenError if any(isinstance(each, ForbiddenError) for each in found) else UsageError
    if len(found) == 1:
        return kind(f"the app {name} can't be deployed: {found[0].what}", found[0].why, found[0].hint)
    lines = [f"- {each}" + (f" (try: {each.hint})" if each.hint else "") for each in found]
    return kind(f"the app {name} can't be deployed: {len(found)} things are wrong", "\n  ".join(lines))
