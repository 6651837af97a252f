"""Commands that write and check the files by which a repository's CI promotes models."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli.command import Command, Group
from mlflow_migration.cli.later import access as cicd_access
from mlflow_migration.cli.later import config as settings
from mlflow_migration.cli.later import opening, proof, steps, workflows
from mlflow_migration.cli.later import policy as policies
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, INCOMPLETE, UsageError

if TYPE_CHECKING:
    from mlflow_migration.cicd.access import Rights
    from mlflow_migration.promotion.policy import Policy

PROVIDERS = ("github", "gitlab", "azure-devops")
POLICY = click.option("--policy", metavar="FILE", default="promotion.yml", show_default=True, help="The policy.")
FOLDER = click.option(
    "--repository", metavar="DIR", default=".", show_default=True, help="The repository's top folder."
)
CONFIG = click.option("--config", "path", metavar="FILE", envvar="MLFLOW_MIGRATION_CONFIG", help="The places' file.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


@click.group("cicd", cls=Group)
def cicd() -> None:
    """Let a repository's CI promote models.

    \b
    Examples:
      cicd init --models churn
      cicd check
    """


@cicd.command("init", cls=Command)
@click.option("--provider", type=click.Choice(PROVIDERS), default="github", show_default=True, help="Whose CI it is.")
@click.option("--models", metavar="NAMES", required=True, help="The models to promote, with commas.")
@click.option("--on-main", metavar="ENVIRONMENT", help="Promoted into at a push to main: the policy's second one.")
@click.option("--on-release", metavar="ENVIRONMENT", help="Promoted into at a push to release: the policy's last one.")
@click.option(
    "--auth",
    type=click.Choice(["oidc", "secrets"]),
    default="oidc",
    show_default=True,
    help="How jobs log in to Databricks: the provider's own short-lived token, or secrets that are kept there.",
)
@click.option("--name", metavar="NAME", help="The name of the Databricks bundle: the folder's.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there and differ.")
@click.option("-n", "--dry-run", is_flag=True, help="Tell which files would be written, and write none.")
@POLICY
@FOLDER
@CONFIG
@JSON
def init(**given: Any) -> int:
    """Write workflows that test, plan and promote, and a Databricks bundle for dev, test, staging and prod.

    A pull request is tested, and what its promotion would do is a comment on it; a push to main promotes into one
    environment, a push to release into the last one, which the provider's own approval guards. Servers and how to log
    in to them stand in mlflow-migration.yml beside the policy; secrets only by the names of their variables.

    \b
    Examples:
      cicd init --models churn,fraud
      cicd init --provider gitlab --models churn --auth secrets
      cicd init --models churn --on-main test --on-release prod --dry-run
    """
    folder = Path(given["repository"])
    policy = policies.load(folder / given["policy"]).policy
    places = settings.load(_config(given, folder), os.environ).settings.places
    wanted = steps.Wanted(
        models=tuple(name.strip() for name in given["models"].split(",") if name.strip()),
        branches=_branches(given, policy.path),
        login=given["auth"],
    )
    name = given["name"] or folder.resolve().name
    pipeline = steps.pipeline(policy, places, wanted, name, metadata.version("mlflow-migration"))
    files = workflows.render(given["provider"], pipeline)
    rows = (
        workflows.planned(files, folder)
        if given["dry_run"]
        else workflows.write(files, folder, overwrite=given["overwrite"])
    )
    if given["as_json"]:
        listed = [{"path": path, "state": state} for path, state in rows]
        answer = {"ok": True, "exit_code": DONE, "command": "cicd init", "dry_run": given["dry_run"], "files": listed}
        click.echo(json.dumps(answer))
        return DONE
    for path, state in rows:
        click.echo(f"{'would be ' if given['dry_run'] else ''}{state:9} {path}")
    click.echo("next: mlflow-migration cicd check", err=True)
    return DONE


def _config(given: dict[str, Any], folder: Path) -> str | None:
    """The configuration that the CI will read: the one in the repository, unless another is named."""
    own = folder / settings.FILE
    return given["path"] or (str(own) if own.is_file() else None)


def _branches(given: dict[str, Any], path: tuple[str, ...]) -> dict[str, str]:
    main, release = given["on_main"] or path[1], given["on_release"] or path[-1]
    if main == release:
        if given["on_main"] and given["on_release"]:
            raise UsageError("main and release promote into the same environment", hint="leave --on-main out")
        return {"release": release}
    return {"main": main, "release": release}


@cicd.command("check", cls=Command)
@click.option("--access", "ask", is_flag=True, help="Ask Databricks too, with the credentials of the configuration.")
@click.option(
    "--principal",
    "principals",
    metavar="[ENVIRONMENT=]NAME",
    multiple=True,
    help="With --access: whom to ask about, as check-access names them. Repeatable [default: the place's client_id, "
    "else who asks].",
)
@click.option("--models", metavar="NAMES", default="", help="With --access: these models, with commas [default: any].")
@POLICY
@FOLDER
@CONFIG
@JSON
def check(**given: Any) -> int:
    """Check the workflows, pipelines and the bundle of a repository, and its policy; exit code 1 where one is wrong.

    actionlint looks at GitHub's workflows where it is installed, and check-jsonschema at all others
    (pip install 'mlflow-migration[cicd]'). With --access also whether each environment's service principal has the
    Unity Catalog privileges that a promotion needs there, with the GRANT statement for each one missing.

    \b
    Examples:
      cicd check
      cicd check --repository ../churn --json
      cicd check --access --models churn --principal prod=4f3c0a8e-7d1b-4a57-9f3e-0d8a6b1c2e4f
    """
    folder = Path(given["repository"])
    file = folder / given["policy"]
    if not given["ask"] and (given["principals"] or given["models"]):
        raise UsageError("--principal and --models say whom and what to ask about", hint="give --access too")
    policy = policies.load(file).policy if file.exists() or given["ask"] else None
    checked = proof.check(folder, policy)
    rights = _asked(given, folder, policy) if given["ask"] and policy else []
    code = INCOMPLETE if checked.findings or any(each.is_wanting for each in rights) else DONE
    if given["as_json"]:
        document = {
            "ok": not code,
            "exit_code": code,
            "command": "cicd check",
            "files": checked.files,
            "tools": checked.tools,
            "findings": [finding.as_json() for finding in checked.findings],
            "access": [each.as_json() for each in rights],
        }
        click.echo(json.dumps(document))
        return code
    for finding in checked.findings:
        click.echo(f"{finding.path}: {finding.what}" + (f" ({finding.remedy})" if finding.remedy else ""))
    for each in rights:
        _show(each)
    click.echo(f"{len(checked.files)} files, {len(checked.findings)} findings, by {', '.join(checked.tools)}", err=True)
    return code


def _asked(given: dict[str, Any], folder: Path, policy: Policy) -> list[Rights]:
    path = _config(given, folder)
    models = tuple(name.strip() for name in given["models"].split(",") if name.strip())
    whom = cicd_access.Asked(cicd_access.principals(given["principals"], policy), models)
    places = settings.load(path, os.environ).settings.places
    common = Common(config=path)
    return cicd_access.check(policy, places, whom, lambda address: opening.session(address, "DST", common))


def _show(rights: Rights) -> None:
    """What is missing in an environment: the statements on stdout, all else for a person only."""
    for access in rights.found:
        lacking = f"lacks {len(access.missing)}" if access.missing else "has all"
        who = f"{access.principal.type.replace('_', ' ')} {access.principal.name}"
        click.echo(f"{rights.environment}: {who} {lacking} of {len(access.findings)} privileges", err=True)
    if rights.problem:
        click.echo(f"{rights.environment}: {rights.problem}", err=not rights.is_wanting)
    for statement in rights.statements:
        click.echo(statement)
