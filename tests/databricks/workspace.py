"""A local Databricks workspace to try things on: `python -m tests.databricks.workspace --help`."""

import argparse
import shlex
import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests import servers
from tests.databricks import catalogue, pool, unity_catalog
from tests.databricks.pool import Pool
from tests.databricks.state import ADMIN, Account

DESCRIPTION = """
Starts local workspaces that the unchanged databricks-sdk, the `databricks` command and MLflow's client use as if they
were Databricks, and prints what to export. All share one account; each is attached to a Unity Catalog metastore, and
workspaces with the same metastore share catalogs, volumes and models. Ctrl-C or SIGTERM ends them, and nothing is kept.

Served: authentication (tokens, OAuth, OIDC), SCIM, workspace files and notebooks, the Files API, MLflow tracking (a
real `mlflow server` behind it) with the platform's names, tags and permissions, Unity Catalog with grants that refuse,
the registries of Unity Catalog (models and prompts) and of the workspace, permissions, secrets, jobs that really run,
apps whose command is really started, and Lakebase with a PostgreSQL behind it. What the platform doesn't have answers
ENDPOINT_NOT_FOUND here too.
"""
EPILOG = """
examples:
  python -m tests.databricks.workspace
  python -m tests.databricks.workspace --workspace dev:m1 --workspace prod:m2 --volume m1:main.default.files
  python -m tests.databricks.workspace --user eve@example.com --token-principal eve@example.com
"""


def main() -> None:
    """Start, tell how to reach them, and wait for Ctrl-C."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="databricks-") as folder:
        empty = servers.make_template(Path(folder) / "empty.db")
        running = Pool(Path(folder), pool.make_template(empty, Path(folder) / "template.db"), port=options.port)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            sys.stdout.write(_started(running.account, options) + "\n")
            sys.stdout.flush()
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        finally:
            running.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.databricks.workspace",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workspace", action="append", metavar="NAME[:METASTORE]", help="a workspace (default: a)")
    parser.add_argument("--port", type=int, default=0, help="of the first workspace (default: any free one)")
    parser.add_argument("--user", action="append", default=[], metavar="MAIL", help=f"a user beside {ADMIN}")
    parser.add_argument("--token-principal", default=ADMIN, help="whose personal access token is printed")
    parser.add_argument(
        "--volume", action="append", default=[], metavar="METASTORE:CATALOG.SCHEMA.NAME", help="a volume to begin with"
    )
    parser.add_argument(
        "--schema", action="append", default=[], metavar="METASTORE:CATALOG.SCHEMA", help="a schema to begin with"
    )
    return parser


def _started(account: Account, options: argparse.Namespace) -> str:
    """Start everything; returns the lines for the shell."""
    for name in options.user:
        account.add_user(name)
    lines = []
    for one in options.workspace or ["a"]:
        name, _, metastore = one.partition(":")
        workspace = account.workspace(name, metastore or "main")
        lines.append(f"# workspace {name}: {workspace.url} (metastore {workspace.metastore.name})")
    for one in options.volume:
        metastore, _, volume = one.partition(":")
        unity_catalog.make_volume(account.metastores[metastore], volume)
    for one in options.schema:
        metastore, _, schema = one.partition(":")
        catalogue.make(account.metastores[metastore], schema)
    first = next(iter(account.workspaces.values()))
    environment = {
        **account.environment(),
        "DATABRICKS_HOST": first.url,
        "DATABRICKS_TOKEN": account.token(options.token_principal),
        "MLFLOW_TRACKING_URI": "databricks",
    }
    return "\n".join([*lines, *(f"export {key}={shlex.quote(value)}" for key, value in environment.items())])


if __name__ == "__main__":
    main()
