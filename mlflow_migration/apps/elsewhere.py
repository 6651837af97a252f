"""The files to run an app where there is no Databricks: Docker, Compose, systemd, Kubernetes.

They start the same runtime with the same variables. It ends within 12 seconds of SIGTERM, so each waits for more than
that before it kills; and each runs one instance at a time, which ends before the next one begins.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mlflow_migration.apps.config import KEK, AppConfig, FromResource
from mlflow_migration.apps.render import COMMAND, UI_FOLDER, Deployment, Packages, variables
from mlflow_migration.apps.runtime.settings import EVERYWHERE
from mlflow_migration.apps.versions import PYTHON
from mlflow_migration.errors import UsageError

PORT = 8000
STATE = "/var/lib/mlflow-app"
HOME = "/opt/mlflow-app"
SECRETS = "secrets.env"
USER_ID = 10001
GRACE_SECONDS = 20
HEALTH = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/health', timeout=4)"

Files = dict[str, bytes]


@dataclass(frozen=True)
class Place:
    """What all targets need: the configuration, what is installed, the variables, and those only secrets give."""

    config: AppConfig
    packages: Packages
    told: Mapping[str, str]
    wanted: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The folder that snapshots go to, "" where that isn't one of this machine."""
        path = self.config.volume.removeprefix("file://")
        return "" if self.config.volume.startswith("/Volumes/") else path

    @property
    def folders(self) -> tuple[str, ...]:
        """What has to outlive the container."""
        return (STATE, *([self.folder] if self.folder else []))


def render(target: str, config: AppConfig, packages: Packages) -> Files:
    """Every file of a target (one of `TARGETS`) by its path. Raises UsageError for a value its files can't hold."""
    place = _place(target, config, packages)
    files = {
        "requirements.txt": "".join(f"{line}\n" for line in packages.requirements).encode(),
        **packages.files,
        f"{SECRETS}.example": _secrets(place),
    }
    return {**files, **TARGETS[target](place)}


def _place(target: str, config: AppConfig, packages: Packages) -> Place:
    everything = {**variables(config, Deployment(packages, passphrase_key=KEK)), **config.environment}
    told = {name: value for name, value in everything.items() if isinstance(value, str)}
    wanted = [name for name, value in everything.items() if isinstance(value, FromResource)]
    told |= {"MLFLOW_APP_NAME": config.name, "MLFLOW_APP_STATE_DIR": STATE, "DATABRICKS_APP_PORT": str(PORT)}
    if target != "systemd":
        told["MLFLOW_APP_HOST"] = EVERYWHERE
    if target == "kubernetes":
        own = [config.name, f"{config.name}.*.svc", f"{config.name}.*.svc.cluster.local"]
        told["MLFLOW_APP_ALLOWED_HOSTS"] = ",".join([*own, *config.allowed_hosts])
    if UI_FOLDER in told.get("MLFLOW_APP_UI", ""):
        told["MLFLOW_APP_UI"] = f"{HOME}/{UI_FOLDER}"
    if "require_identity" not in config.model_fields_set:
        # The headers are Databricks' own; without its proxy nobody sends them.
        told["MLFLOW_APP_REQUIRE_IDENTITY"] = "false"
    if config.backend != "sqlite" or config.volume.startswith("/Volumes/"):
        wanted += ["DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"]
    if config.backend == "lakebase":
        wanted += [name for name in ("PGHOST", "PGUSER") if name not in told]
        if "MLFLOW_APP_LAKEBASE_INSTANCE" not in told:
            wanted.append("MLFLOW_APP_LAKEBASE_ENDPOINT")
    return Place(config, packages, told, tuple(wanted))


def _secrets(place: Place) -> bytes:
    head = f"# Copy this to {SECRETS}, readable by its owner only, and fill it in. It belongs in no repository.\n"
    if KEK in place.wanted:
        head += f"# {KEK} encrypts stored credentials: make it once (openssl rand -base64 32), keep it.\n"
    return (head + "".join(f"{name}=\n" for name in place.wanted)).encode()


def _dockerfile(place: Place, told: Mapping[str, str]) -> bytes:
    if long := [name for name, value in told.items() if "\n" in value or "\r" in value]:
        raise UsageError(
            f"a Dockerfile can't hold {', '.join(long)}", "the value has several lines", "--target compose"
        )
    beside = [name for name in place.packages.files if "/" not in name]
    folders = " ".join(map(shlex.quote, place.folders))
    lines = [
        f"FROM python:{PYTHON}-slim",
        *(["RUN apt-get update && apt-get install -y --no-install-recommends git"] if _needs_git(place) else []),
        f"RUN useradd --uid {USER_ID} --create-home mlflow && mkdir -p {folders} && chown {USER_ID} {folders}",
        f"WORKDIR {HOME}",
        "COPY " + json.dumps(["requirements.txt", *beside, "./"]),
        "RUN pip install --no-cache-dir -r requirements.txt",
        *([f"COPY {UI_FOLDER} {UI_FOLDER}"] if "MLFLOW_APP_UI" in place.told else []),
        *(f"ENV {name}={_quoted(value)}" for name, value in told.items()),
        f"USER {USER_ID}",
        f"EXPOSE {PORT}",
        "VOLUME " + json.dumps(list(place.folders)),
        "STOPSIGNAL SIGTERM",
        "HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD "
        + json.dumps(["python", "-c", HEALTH]),
        "CMD " + json.dumps(list(COMMAND)),
    ]
    return ("\n".join(lines) + "\n").encode()


def _docker(place: Place) -> Files:
    name = place.config.name
    mounts = " ".join(f"-v {name}-{number}:{folder}" for number, folder in enumerate(place.folders, 1))
    head = (
        f"# docker build -t {name} .\n"
        f"# docker run --env-file {SECRETS} -p 127.0.0.1:{PORT}:{PORT} --stop-timeout {GRACE_SECONDS} {mounts} {name}\n"
    )
    return {"Dockerfile": head.encode() + _dockerfile(place, place.told), ".dockerignore": b"*.env\n"}


def _compose(place: Place) -> Files:
    volumes = {f"data-{number}": folder for number, folder in enumerate(place.folders, 1)}
    service = {
        "build": ".",
        "environment": {name: value.replace("$", "$$") for name, value in place.told.items()},
        "env_file": [SECRETS],
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "volumes": [f"{volume}:{folder}" for volume, folder in volumes.items()],
        "restart": "unless-stopped",
        "stop_grace_period": f"{GRACE_SECONDS}s",
    }
    whole = {"name": place.config.name, "services": {"mlflow": service}, "volumes": {volume: {} for volume in volumes}}
    return {"compose.yaml": _yaml(whole), "Dockerfile": _dockerfile(place, {}), ".dockerignore": b"*.env\n"}


def _systemd(place: Place) -> Files:
    unit = f"{place.config.name}.service"
    command = shlex.join([f"{HOME}/venv/bin/{COMMAND[0]}", *COMMAND[1:]])
    beside = shlex.join(["requirements.txt", *sorted({name.partition("/")[0] for name in place.packages.files})])
    text = f"""\
# useradd --system mlflow-app
# python{PYTHON} -m venv {HOME}/venv && cp -r {beside} {HOME} && cd {HOME} && venv/bin/pip install -r requirements.txt
# install -D -m 600 {SECRETS} /etc/mlflow-app/{SECRETS} && install -m 644 app.env /etc/mlflow-app/app.env
# cp {unit} /etc/systemd/system && systemctl enable --now {unit}
[Unit]
Description=MLflow ({place.config.name})
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
User=mlflow-app
WorkingDirectory={HOME}
StateDirectory=mlflow-app
StateDirectoryMode=0700
EnvironmentFile=/etc/mlflow-app/app.env
EnvironmentFile=/etc/mlflow-app/{SECRETS}
ExecStart={command}
# The runtime ends its server itself and makes the last snapshot; only what is left then is killed.
KillMode=mixed
TimeoutStopSec={GRACE_SECONDS}
Restart=on-failure
RestartPreventExitStatus=2
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=yes
"""
    if place.folder:
        # In a unit, unlike in its files of variables, a percent sign begins a specifier.
        text += f'ReadWritePaths="{place.folder.replace("%", "%%")}"\n'
    text += "\n[Install]\nWantedBy=multi-user.target\n"
    env = "".join(f"{name}={_quoted(value)}\n" for name, value in place.told.items())
    return {unit: text.encode(), "app.env": env.encode()}


def _kubernetes(place: Place) -> Files:
    name = place.config.name
    labels = {"app.kubernetes.io/name": name}
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5}
    container = {
        "name": "mlflow",
        "image": f"{name}:{place.packages.mlflow}",
        "env": [{"name": key, "value": value} for key, value in place.told.items()],
        "envFrom": [{"secretRef": {"name": name}}],
        "ports": [{"name": "http", "containerPort": PORT}],
        # The first start restores a snapshot; a storage that doesn't answer is waited for.
        "startupProbe": {**probe, "failureThreshold": 60},
        "readinessProbe": {**probe, "failureThreshold": 2},
        "livenessProbe": {**probe, "failureThreshold": 6},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "data", "mountPath": folder, "subPath": f"folder-{number}"}
            for number, folder in enumerate(place.folders, 1)
        ],
    }
    pod = {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER_ID, "fsGroup": USER_ID},
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    # One writer: the old pod has to be gone before the new one begins.
    deployment = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    service = {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    kinds: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
        ("v1", "PersistentVolumeClaim", claim),
        ("apps/v1", "Deployment", deployment),
        ("v1", "Service", service),
    )
    head = (
        f"# docker build -t {name}:{place.packages.mlflow} . && docker push …\n"
        f"# kubectl create secret generic {name} --from-env-file={SECRETS}\n"
    )
    documents = [
        _yaml({"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec})
        for version, kind, spec in kinds
    ]
    made = head.encode() + b"---\n".join(documents)
    return {"kubernetes.yaml": made, "Dockerfile": _dockerfile(place, {}), ".dockerignore": b"*.env\n"}


TARGETS: Mapping[str, Callable[[Place], Files]] = {
    "docker": _docker,
    "compose": _compose,
    "systemd": _systemd,
    "kubernetes": _kubernetes,
}


class _Plain(yaml.SafeDumper):
    """Without anchors: not every reader of these files knows them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(value: Mapping[str, Any]) -> bytes:
    text: str = yaml.dump(dict(value), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=1000)
    return text.encode()


def _quoted(value: str) -> str:
    """In double quotes, as Dockerfiles and systemd's environment files read them alike."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def _needs_git(place: Place) -> bool:
    return any("git+" in line for line in place.packages.requirements)
