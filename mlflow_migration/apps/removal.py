"""Taking an app away, and what was made for it. Its data stays, unless it is to go too.

The app is stopped first, so that its last snapshot is written while it still may write.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import quote

from mlflow_migration.apps import data, database, lakebase, platform, resources, secrets, upload, volume_rights, wait
from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.health import Workspace
from mlflow_migration.apps.preflight import path_of
from mlflow_migration.apps.runtime import lease
from mlflow_migration.apps.steps import DONE, SAME, TOLD, Steps
from mlflow_migration.apps.volume import Volume
from mlflow_migration.apps.wait import Waiting
from mlflow_migration.errors import ConflictError, NotFoundError, ServerError, UsageError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks.principals import Principals
from mlflow_migration.server.rest import Rest

FILES, FOLDERS = "/api/2.0/fs/files", "/api/2.0/fs/directories"
OWN_FOLDERS = ("snapshots", "leases", "set-aside", "artifacts")
OWN_FILES = ("latest.json",)
"""What the runtime writes below its Volume (docs/explanation/app-runtime.md); anything else there is somebody's."""
WHOLE_VOLUME = r"(?:/[^/]+){4}"
OF_EXPERIMENT = re.compile(r"\d+")


def remove(workspace: Workspace, config: AppConfig, steps: Steps, waiting: Waiting) -> None:
    """Take the app away with its source files, and the grants to its service principal. Data and secret stay."""
    rest, name = workspace.rest, config.name
    app = platform.get(rest, name)
    if app is None:
        steps.add("app", name, SAME, "it isn't there")
    elif platform.compute(app) == "DELETING":
        waiting.tell(f"the app {name} is being deleted already")
        wait.gone(rest, waiting)
        steps.add("app", name, DONE, "deleted")
    else:
        _stop(rest, app, steps, waiting)
        _grants(rest, app, steps)
        platform.delete(rest, name)
        wait.gone(rest, waiting)
        steps.add("app", name, DONE, "deleted")
    for path in dict.fromkeys(_paths(rest, config, app)):
        _source(rest, name, path, steps)


def _stop(rest: Rest, app: Json, steps: Steps, waiting: Waiting) -> None:
    """SIGTERM, upon which the runtime writes its last snapshot."""
    if platform.compute(app) not in wait.AT_REST:
        wait.at_rest(rest, waiting)
    elif platform.compute(app) != "ACTIVE":
        return
    platform.stop(rest, waiting.name)
    wait.stopped(rest, waiting)
    steps.add("stop", waiting.name)


def _grants(rest: Rest, app: Json, steps: Steps) -> None:
    client_id = str(app.get("service_principal_client_id") or "")
    for each in app.get("resources") or ():
        volume = str((each.get("uc_securable") or {}).get("securable_full_name") or "")
        if not client_id or not volume:
            continue
        for taken, fault in volume_rights.take(rest, client_id, volume):
            steps.add("grants", taken, TOLD if fault else DONE, fault)


def _paths(rest: Rest, config: AppConfig, app: Json | None) -> list[str]:
    """Where the source files may be: where the configuration has them, and where the app was deployed from."""
    told = str((app or {}).get("default_source_code_path") or "")
    home = "" if app is None else f"/Users/{app.get('service_principal_client_id')}/"
    own = path_of(config, Principals(rest).me())
    return [own, *([told] if told and not told.removeprefix("/Workspace").startswith(home) else [])]


def _source(rest: Rest, name: str, path: str, steps: Steps) -> None:
    source = upload.read(rest, path)
    if source.app == name:
        whole = upload.clear(rest, source)
        steps.add("remove", path, DONE, "" if whole else "other files in it stay")


def require_own(rest: Rest, config: AppConfig) -> None:
    """Raise ConflictError where the data is another app's: two may name one folder, and one of them never got in.

    Who has written last stands in the lease.
    """
    if config.backend != "sqlite" or not resources.volume_of(config.volume):
        return
    try:
        storage = Volume(rest, config.volume)
    except UsageError:
        return  # without a Volume there is nothing to lose
    with data.told():
        last = lease.current(storage)
    if last is not None and last.app not in {config.name, "", "unknown"}:
        raise ConflictError(
            f"{config.volume} holds the data of the app {last.app}",
            f"{last.app} wrote there last, at {last.renewed}; nothing was deleted",
            f"leave --delete-data out: the app {config.name} goes, and the data stays",
        )


def forget_data(workspace: Workspace, config: AppConfig, client_id: str, steps: Steps, waiting: Waiting) -> None:
    """Remove what the app kept: its files in Volumes, its schema with its role, its passphrase."""
    rest = workspace.rest
    own = config.volume.rstrip("/")
    for folder in dict.fromkeys([own, config.artifacts.removeprefix("dbfs:").rstrip("/")]):
        if resources.volume_of(folder):
            _volume(rest, folder, steps, is_artifacts=folder != own)
    if config.backend == "lakebase":
        forget_schema(workspace, config, client_id, steps, waiting)
    gone = secrets.forget(rest, config)
    steps.add("passphrase", gone or secrets.scope_of(config), DONE if gone else SAME, "" if gone else "it isn't there")


def _volume(rest: Rest, folder: str, steps: Steps, is_artifacts: bool) -> None:
    if is_artifacts:
        names = [str(each["name"]) for each in _entries(rest, folder) or () if each.get("is_directory")]
        # MLflow's folders are experiments, by their numbers; whatever else is there is somebody's.
        count = sum(_emptied(rest, f"{folder}/{name}") for name in names if OF_EXPERIMENT.fullmatch(name))
        left = _entries(rest, folder)
        if left == [] and not re.fullmatch(WHOLE_VOLUME, folder):
            _gone(rest, FOLDERS, folder)
        stays = f"; {len(left)} others stay" if left else ""
    else:
        count, stays = sum(_emptied(rest, f"{folder}/{each}") for each in OWN_FOLDERS), ""
        count += sum(_gone(rest, FILES, f"{folder}/{each}") for each in OWN_FILES)
    steps.add("data", folder, DONE if count else SAME, f"{count} files removed{stays}")


def _entries(rest: Rest, folder: str) -> list[Json] | None:
    """What is in a folder; None where there is none."""
    path, entries = FOLDERS + quote(folder), list[Json]()
    query: dict[str, str] = {}
    while True:
        answer = platform.found(rest, path, query)
        if answer is None:
            return None
        entries += answer.get("contents", [])
        if not answer.get("next_page_token"):
            return entries
        query = {"page_token": str(answer["next_page_token"])}


def _emptied(rest: Rest, folder: str) -> int:
    """Remove a folder with all that is in it; how many files that were."""
    entries = _entries(rest, folder)
    if entries is None:
        return 0
    count = 0
    for each in entries:
        inside = f"{folder}/{each['name']}"
        count += _emptied(rest, inside) if each.get("is_directory") else _gone(rest, FILES, inside)
    _gone(rest, FOLDERS, folder)
    return count


def _gone(rest: Rest, route: str, path: str) -> int:
    try:
        rest.call("DELETE", route + quote(path))
    except ServerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return 0
        raise
    return 1


def forget_schema(workspace: Workspace, config: AppConfig, client_id: str, steps: Steps, waiting: Waiting) -> None:
    """Remove the app's schema with its role; the project or instance stays."""
    rest = workspace.rest
    try:
        home = lakebase.home(rest, config)
    except NotFoundError as error:
        steps.add("database", config.lakebase_or_default.instance, SAME, str(error))
        return
    if not home.is_there:
        steps.add("database", str(home), SAME, "it isn't there")
        return
    place = lakebase.connection(rest, config, home, waiting)
    database.reset(rest, config, place, steps)
    # What was granted to a role stands in the way of its end, until somebody inherits it.
    if client_id and lakebase.drop_role(rest, home, client_id, Principals(rest).me().name, waiting):
        steps.add("database", f"role {client_id}", DONE, "removed")
    steps.add("database", str(home), TOLD, "it stays: it may hold other databases")
