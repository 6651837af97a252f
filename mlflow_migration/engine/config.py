"""`mlflow-migration.yml`: named places with their credentials. By --config, else in this folder, else the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mlflow_migration.database.connect import is_database
from mlflow_migration.database.file_store import is_file_store
from mlflow_migration.errors import UsageError
from mlflow_migration.server.address import Credentials, is_server

FILE = "mlflow-migration.yml"
ROLES = ("SRC", "DST")
SECRETS = ("password", "token")
SECRET_VARIABLES = ("PASSWORD", "TOKEN", "SECRET", "CREDENTIALS", "_URL")
DATABRICKS_SECRETS = ("client_secret", "azure_client_secret", "google_credentials")
VARIABLES = {
    "profile": "DATABRICKS_CONFIG_PROFILE",
    "config_file": "DATABRICKS_CONFIG_FILE",
    "host": "DATABRICKS_HOST",
    "auth_type": "DATABRICKS_AUTH_TYPE",
    "account_id": "DATABRICKS_ACCOUNT_ID",
    "workspace_id": "DATABRICKS_WORKSPACE_ID",
    "client_id": "DATABRICKS_CLIENT_ID",
    "client_secret": "DATABRICKS_CLIENT_SECRET",
    "oidc_token_env": "DATABRICKS_OIDC_TOKEN_ENV",
    "oidc_token_filepath": "DATABRICKS_OIDC_TOKEN_FILEPATH",
    "token_audience": "DATABRICKS_TOKEN_AUDIENCE",
    "azure_workspace_resource_id": "DATABRICKS_AZURE_RESOURCE_ID",
    "azure_client_id": "ARM_CLIENT_ID",
    "azure_client_secret": "ARM_CLIENT_SECRET",
    "azure_tenant_id": "ARM_TENANT_ID",
    "azure_environment": "ARM_ENVIRONMENT",
    "azure_use_msi": "ARM_USE_MSI",
    "google_service_account": "DATABRICKS_GOOGLE_SERVICE_ACCOUNT",
    "google_credentials": "GOOGLE_CREDENTIALS",
    "databricks_cli_path": "DATABRICKS_CLI_PATH",
}
"""What a place may say of a Databricks workspace, by the names of ~/.databrickscfg, and databricks-sdk's variables."""
OIDC_ITSELF = "DATABRICKS_OIDC_TOKEN"
OF_DATABRICKS = ("DATABRICKS_", "ARM_", "GOOGLE_CREDENTIALS")


class PlaceSettings(BaseModel):
    """One place. A secret stands in the file, or better in the environment variable that `…_env` names."""

    model_config = ConfigDict(extra="forbid")

    uri: str
    username: str | None = None
    password: str | None = None
    password_env: str | None = None
    token: str | None = None
    token_env: str | None = None
    workspace: str | None = None
    insecure_tls: bool | None = None
    ca_bundle: str | None = None
    client_cert: str | None = None
    profile: str | None = None
    config_file: str | None = None
    host: str | None = None
    auth_type: str | None = None
    account_id: str | None = None
    workspace_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    client_secret_env: str | None = None
    oidc_token_env: str | None = None
    oidc_token_filepath: str | None = None
    token_audience: str | None = None
    azure_workspace_resource_id: str | None = None
    azure_client_id: str | None = None
    azure_client_secret: str | None = None
    azure_client_secret_env: str | None = None
    azure_tenant_id: str | None = None
    azure_environment: str | None = None
    azure_use_msi: bool | None = None
    google_service_account: str | None = None
    google_credentials: str | None = None
    google_credentials_env: str | None = None
    databricks_cli_path: str | None = None


class Settings(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    places: dict[str, PlaceSettings] = {}


@dataclass(frozen=True)
class Config:
    """Settings and the file they come from, None where there is no file."""

    settings: Settings
    path: Path | None

    def place(self, text: str, role: str, environ: Mapping[str, str]) -> tuple[str, Credentials]:
        """Address and credentials for what a person typed: an address, a folder, or `@name` of this file.

        `role` is "SRC" or "DST": MLFLOW_MIGRATION_SRC_USERNAME and so on go before the file.
        Raises UsageError for an unknown name, or a secret's variable that isn't set.
        """
        if not text:
            raise UsageError("no place was given", hint="give an address, a bundle folder, or set MLFLOW_TRACKING_URI")
        known = self.settings.places
        if text.startswith("@"):
            if text[1:] not in known:
                names = ", ".join("@" + name for name in known) or "none is defined"
                raise UsageError(f"no such place: {text}", f"known: {names}", f"define it in {self.path or FILE}")
            chosen: PlaceSettings | None = known[text[1:]]
        else:
            chosen = next((place for place in known.values() if place.uri.rstrip("/") == text.rstrip("/")), None)
        given = credentials_of(chosen, environ) if chosen else Credentials()
        return chosen.uri if chosen else text, _from_environment(role, environ).merged(given)


def credentials_of(place: PlaceSettings, environ: Mapping[str, str]) -> Credentials:
    """The credentials of a place of the file. Raises UsageError where a named variable isn't set."""
    found: dict[str, str | None] = {}
    for secret in SECRETS + DATABRICKS_SECRETS:
        variable = getattr(place, f"{secret}_env")
        if variable and variable not in environ:
            raise UsageError(
                f"the environment variable {variable} is not set", f"it is to hold the {secret} of {place.uri}"
            )
        found[secret] = environ[variable] if variable else getattr(place, secret)
    named = {key: found[key] if key in found else getattr(place, key) for key in VARIABLES}
    databricks = {VARIABLES[key]: str(value) for key, value in named.items() if value not in (None, "", False)}
    return Credentials(
        username=place.username,
        password=found["password"],
        token=found["token"],
        workspace=place.workspace,
        insecure_tls=place.insecure_tls,
        ca_bundle=place.ca_bundle,
        client_cert=place.client_cert,
        databricks=(databricks,) if databricks else (),
    )


def _from_environment(role: str, environ: Mapping[str, str]) -> Credentials:
    def value(name: str) -> str | None:
        return environ.get(f"MLFLOW_MIGRATION_{role}_{name}") or None

    insecure = value("INSECURE_TLS")
    return Credentials(
        username=value("USERNAME"),
        password=value("PASSWORD"),
        token=value("TOKEN"),
        workspace=value("WORKSPACE"),
        insecure_tls=None if insecure is None else insecure.lower() in {"1", "true", "yes"},
        ca_bundle=value("CA_BUNDLE"),
        client_cert=value("CLIENT_CERT"),
        databricks=_databricks_of(f"MLFLOW_MIGRATION_{role}_", environ),
    )


def _databricks_of(prefix: str, environ: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """The variables of databricks-sdk that are set for one role only, by their own names."""
    found = {
        name.removeprefix(prefix): value
        for name, value in environ.items()
        if value and name.startswith(prefix) and name.removeprefix(prefix).startswith(OF_DATABRICKS)
    }
    if found.pop(OIDC_ITSELF, None) is not None:
        # The SDK reads this one by itself, from the variable it is told.
        found.setdefault(VARIABLES["oidc_token_env"], prefix + OIDC_ITSELF)
        found.setdefault(VARIABLES["auth_type"], "env-oidc")
    return (found,) if found else ()


def load(given: str | None, environ: Mapping[str, str]) -> Config:
    """Read the configuration. Raises UsageError naming the file and key that is wrong."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    found = [Path(given)] if given else [Path(FILE), Path(home) / "mlflow-migration" / "config.yml"]
    path = next((path for path in found if given or path.is_file()), None)
    if path is None:
        return Config(Settings(), None)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        settings = Settings.model_validate({} if content is None else content)
    except OSError as error:
        raise UsageError(f"can't read the configuration {path}", error.strerror or str(error)) from error
    except yaml.YAMLError as error:
        raise UsageError(f"the configuration {path} is not YAML", " ".join(str(error).split())[:300]) from error
    except ValidationError as error:
        # Only where and what: pydantic's own text would show the value, which may be a secret.
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise UsageError(f"the configuration {path} is wrong", faults, "see docs/reference/configuration.md") from error
    return Config(settings, path)


def kind_of_place(text: str) -> str:
    """ "server", "database", "file store" or "bundle"."""
    if is_database(text):
        return "database"
    if text.startswith("file:"):
        return "file store"
    if is_server(text):
        return "server"
    return "file store" if is_file_store(text) else "bundle"


def shown(config: Config, environ: Mapping[str, str]) -> dict[str, object]:
    """The configuration with where each value comes from, secrets only as set or not set."""
    places: dict[str, dict[str, object]] = {}
    for name, place in config.settings.places.items():
        values = {key: value for key, value in place.model_dump().items() if value is not None}
        places[name] = {key: "(set)" if key in SECRETS + DATABRICKS_SECRETS else value for key, value in values.items()}
    variables = {
        key: "(set)" if key.endswith(SECRET_VARIABLES) else value
        for key, value in sorted(environ.items())
        if key.startswith(
            (
                "MLFLOW_MIGRATION_",
                "mlflow_migration_LOG_",
                "MLFLOW_TRACKING_",
                "MLFLOW_REGISTRY_URI",
                "MLFLOW_WORKSPACE",
                "DATABRICKS_",
            )
        )
    }
    return {"file": str(config.path) if config.path else None, "places": places, "environment": variables}
