"""What the server's process is told: by environment variables, so that nothing of it stands in a process list."""

import os
from collections.abc import Mapping
from pathlib import Path

from mlflow_migration.apps.runtime import passwords, server
from mlflow_migration.apps.runtime.settings import Settings, as_artifact_uri, databricks_host

# What a Host header may hold where no host is configured: this machine, and addresses no name stands for.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]", "localhost:*", "127.0.0.1:*", "[[]::1]:*")
PRIVATE_HOSTS = ("10.*", "192.168.*", *(f"172.{number}.*" for number in range(16, 32)))
# What would lead the server elsewhere than the settings; libpq prefers PGPASSWORD to the password file.
STEERING = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PGPASSWORD")


def allowed_hosts(settings: Settings) -> list[str]:
    """Host headers that are answered: those of this machine and its network, the app's own, the configured ones.

    MLflow's own list is replaced as soon as one is given, and it compares ports too.
    """
    given = [host for host in settings.allowed_hosts if host]
    with_ports = [f"{host}:*" for host in given if ":" not in host and host != "*"]
    return list(dict.fromkeys([*LOCAL_HOSTS, *PRIVATE_HOSTS, *given, *with_ports]))


def allowed_origins(settings: Settings) -> list[str]:
    """Pages that may change things: those of the app's hosts. Where only a pattern is known `gate.py` decides."""
    return [f"https://{host}" for host in settings.allowed_hosts if host and "*" not in host]


def of_server(settings: Settings, outside: Mapping[str, str], address: str) -> dict[str, str]:
    """The environment of `mlflow server` for a backend at `address`."""
    kept = {key: value for key, value in outside.items() if key not in STEERING}
    told = {
        "MLFLOW_BACKEND_STORE_URI": address,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(allowed_hosts(settings)),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true" if settings.job_execution else "false",
        "MLFLOW_APP_STATE_DIR": str(settings.state),
        "MLFLOW_APP_REQUIRE_IDENTITY": "true" if settings.require_identity else "false",
        "MLFLOW_APP_BACKEND": settings.backend,
        "PYTHONPATH": os.pathsep.join(filter(None, (server.register(settings.state), outside.get("PYTHONPATH")))),
    }
    if settings.ui:
        told["MLFLOW_APP_UI"] = str(settings.ui_folder)
    if origins := allowed_origins(settings):
        told["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins)
    if host := databricks_host(outside):
        told["DATABRICKS_HOST"] = host
    if settings.backend == "databricks":
        told["MLFLOW_REGISTRY_STORE_URI"] = "databricks-uc"
        told["MLFLOW_APP_EXPERIMENT_PREFIX"] = settings.experiment_prefix
    else:
        told["MLFLOW_ARTIFACTS_DESTINATION"] = as_artifact_uri(settings.artifacts)
        told["MLFLOW_SERVE_ARTIFACTS"] = "true"
    return {**kept, **told}


def address_of(settings: Settings) -> str:
    """The backend store's address, as SQLAlchemy or MLflow take it."""
    if settings.lakebase:
        return passwords.address(settings.lakebase, password_file(settings))
    return "databricks" if settings.backend == "databricks" else f"sqlite:///{settings.database_file}"


def password_file(settings: Settings) -> Path:
    """libpq's password file."""
    return settings.state / "pgpass"
