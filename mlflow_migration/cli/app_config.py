"""`app config`, `app versions`, `app render`: what an app is to be, before any workspace is spoken to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli.app_init import init
from mlflow_migration.cli.app_options import CONFIG, DRY, FILE, JSON, configured, file_of
from mlflow_migration.cli.command import Command, Group
from mlflow_migration.cli.later import channel, elsewhere, module, questions, resources
from mlflow_migration.cli.later import render as rendering
from mlflow_migration.cli.options import Common
from mlflow_migration.cli.output import show as give
from mlflow_migration.cli.output import table
from mlflow_migration.errors import DONE, StorageError, UsageError
from mlflow_migration.report import visible

if TYPE_CHECKING:
    from mlflow_migration.apps import config as settings
    from mlflow_migration.apps import versions
else:
    settings = module("mlflow_migration.apps.config")
    versions = module("mlflow_migration.apps.versions")

TARGETS = ("databricks", "docker", "compose", "systemd", "kubernetes")


@click.group("config", cls=Group)
def config() -> None:
    """Look at an app's configuration, change it, check it.

    \b
    Examples:
      app config show
      app config set mlflow=latest workers=2
    """


@config.command("show", cls=Command)
@CONFIG
@JSON
def show(path: str | None, as_json: bool) -> int:
    """Show the configuration in force, defaults included.

    \b
    Examples:
      app config show
      app config show --config prod.yml --json
    """
    found = configured(path).model_dump(mode="json", by_alias=True)
    document = {"file": str(file_of(path)), "config": found}
    give("app config show", document, settings.text(found).rstrip(), Common(as_json=as_json))
    return DONE


@config.command("set", cls=Command)
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True)
@CONFIG
@DRY
@JSON
def set_(assignments: tuple[str, ...], path: str | None, dry_run: bool, as_json: bool) -> int:
    """Change the configuration: keys of keys with dots; an empty value means the default again.

    Comments in the file stay, but for those inside of what changes. Nothing is written unless the whole is right then.

    \b
    Examples:
      app config set mlflow=3.17.2 workers=2
      app config set snapshots.seconds=10 environment.MLFLOW_LOGGING_LEVEL=DEBUG
      app config set mlflow=git:someone/branch allowed_hosts=
    """
    file = file_of(path)
    if file is None:
        raise UsageError(f"no {FILE} in this folder", hint="mlflow-migration app init writes one")
    before = settings.raw(file)
    after = settings.given(settings.parsed(questions.assigned(before, assignments), str(file)))
    changed = questions.changes(before, after)
    if changed and not dry_run:
        settings.write(file, after)
    lines = [visible(f"{key}: {_was(old)} → {_was(new)}") for key, (old, new) in changed.items()]
    rows = {key: {"before": old, "after": new} for key, (old, new) in changed.items()}
    document = {"file": str(file), "dry_run": dry_run, "changed": rows}
    give("app config set", document, "\n".join(lines) or "nothing to change", Common(as_json=as_json))
    return DONE


def _was(value: Any) -> str:
    return "the default" if value is None else questions.shown(value)


@config.command("validate", cls=Command)
@CONFIG
@click.option("--schema", is_flag=True, help="Print the JSON schema of a configuration instead, for editors.")
@JSON
def validate(path: str | None, schema: bool, as_json: bool) -> int:
    """Check the configuration as a whole: every fault in one message, exit code 2. No workspace is spoken to.

    \b
    Examples:
      app config validate
      app config validate --schema > mlflow-app.schema.json
    """
    if schema:
        click.echo(settings.schema(), nl=False)
        return DONE
    found = configured(path)
    document = {"file": str(file_of(path)), "name": found.name}
    give("app config validate", document, f"{file_of(path)} is right", Common(as_json=as_json))
    return DONE


@click.command("versions", cls=Command)
@click.option("--index", "url", metavar="URL", help="The package index [default: the one pip is configured with].")
@click.option("--all", "every", is_flag=True, help="Pre-releases, withdrawn ones and those the app can't use, too.")
@JSON
def list_versions(url: str | None, every: bool, as_json: bool) -> int:
    """List the versions of MLflow that a package index has and an app can use, the newest first.

    `latest` is the newest whose parts (mlflow, mlflow-skinny, mlflow-tracing) are all there.

    \b
    Examples:
      app versions
      app versions --all --index https://packages.example.org/simple --json
    """
    index = versions.Index(url.rstrip("/") + "/") if url else versions.configured()
    found = versions.releases("mlflow", index)
    listed = found if every else versions.fitting(found, channel.SUPPORTED)
    latest = channel.chosen_version("latest", index)
    rows = [
        {
            "version": str(release.version),
            "latest": str(release.version) == latest,
            "prerelease": release.version.is_prerelease,
            "yanked": release.yanked,
            "requires_python": release.requires_python,
        }
        for release in listed
    ]
    head = ["version", "Python", ""]
    cells = [[str(row["version"]), str(row["requires_python"]), _marks(row)] for row in rows]
    document = {"index": index.shown, "latest": latest, "versions": rows}
    give("app versions", document, table(head, cells), Common(as_json=as_json))
    return DONE


def _marks(row: dict[str, Any]) -> str:
    return ", ".join(name for name in ("latest", "prerelease", "yanked") if row[name])


@click.command("render", cls=Command)
@click.option("--target", type=click.Choice(TARGETS), default="databricks", show_default=True, help="Where it runs.")
@click.option("--output-dir", metavar="DIR", required=True, help="Where the files go.")
@CONFIG
@DRY
@JSON
def render_(target: str, output_dir: str, path: str | None, dry_run: bool, as_json: bool) -> int:
    """Write the files that run the app: for Databricks those that a deployment uploads, else what starts it elsewhere.

    Nothing secret is in them. Files that are equal already are left alone; none is deleted. What only the workspace
    knows, the app's address and its database's, a deployment adds to app.yaml.

    \b
    Examples:
      app render --output-dir build/app
      app render --target compose --output-dir compose
    """
    found = configured(path)
    packages = channel.packages(found)
    files = _files(target, found, packages)
    folder = Path(output_dir)
    rows = [{"path": name, "state": _written(folder / name, files[name], dry_run)} for name in sorted(files)]
    lines = [f"{row['state']:9} {row['path']}" for row in rows]
    document = {
        "target": target,
        "folder": str(folder),
        "dry_run": dry_run,
        "mlflow": packages.mlflow,
        "files": rows,
        "notes": list(packages.notes),
    }
    give("app render", document, "\n".join([*lines, *packages.notes]), Common(as_json=as_json))
    return DONE


def _files(target: str, found: settings.AppConfig, packages: rendering.Packages) -> dict[str, bytes]:
    if target != "databricks":
        return elsewhere.render(target, found, packages)
    key = resources.VOLUME if resources.VOLUME in resources.volumes(found) else ""
    made = rendering.Deployment(packages, passphrase_key=resources.PASSPHRASE, volume_key=key)
    return rendering.render(found, made)


def _written(path: Path, content: bytes, dry_run: bool) -> str:
    """What became of a file: new, changed or same. Raises StorageError where it can't be written."""
    try:
        before = path.read_bytes() if path.is_file() else None
        if before == content:
            return "same"
        if not dry_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"can't write {path}", error.strerror or str(error)) from error
    return "new" if before is None else "changed"


COMMANDS: tuple[click.Command, ...] = (init, config, list_versions, render_)
"""What stands in `app`."""
