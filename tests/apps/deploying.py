"""Apps to deploy in tests: configurations, a light stand-in for the runtime, and the workspace's own answers.

What a deployment left behind is asked of the emulator by plain HTTP, not by the code that deployed.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import requests
import yaml

from mlflow_migration.apps.config import AppConfig, parsed
from mlflow_migration.apps.deploy import Options
from mlflow_migration.apps.health import Workspace as Place
from mlflow_migration.apps.health import opened
from mlflow_migration.apps.preflight import Making
from mlflow_migration.apps.render import Packages, render
from mlflow_migration.server.address import Credentials
from tests.databricks import unity_catalog
from tests.databricks.state import ADMIN, Client, Workspace

NAME = "tracking"
VOLUME = "/Volumes/main/ml/apps/tracking"
PLAIN: Mapping[str, Any] = {"name": NAME, "volume": VOLUME, "mlflow": "3.17.2"}
# Answers what a deployment is asked after: health, and one search.
STAND_IN = """
import http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = {"environment": {k: v for k, v in os.environ.items() if k.startswith(("MLFLOW", "PG"))}, "mark": MARK}
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer()

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["DATABRICKS_APP_PORT"])), Handler).serve_forever()
"""


@dataclass
class Trial:
    """A workspace with a Volume and a service principal that may do everything, which deploys with OAuth."""

    workspace: Workspace
    client: Client
    told: list[str] = field(default_factory=list)

    def place(self, patience: float = 20) -> Place:
        """The workspace as the deploying side opens it."""
        settings = {
            "DATABRICKS_HOST": self.workspace.url,
            "DATABRICKS_CLIENT_ID": self.client.client_id,
            "DATABRICKS_CLIENT_SECRET": self.client.client_secret,
        }
        return opened("databricks", Credentials(databricks=(settings,)), patience)

    def with_token(self, principal: str = ADMIN) -> Place:
        """The same with a personal access token."""
        settings = {"DATABRICKS_HOST": self.workspace.url, "DATABRICKS_TOKEN": self.workspace.token(principal)}
        return opened("databricks", Credentials(databricks=(settings,)), 20)

    def options(self, mark: str = "one", files: Mapping[str, bytes] | None = None, **changed: Any) -> Options:
        """How to deploy the stand-in, which says `mark`; `files` go beside it."""
        return Options(
            **{"first": 0.05, "seconds": 60.0, "steady": 1.0, "tell": self.told.append, **changed},
            making=stand_in(mark, files or {}),
        )

    @property
    def source(self) -> str:
        """Where the deployer's files go."""
        return f"/Workspace/Users/{self.client.client_id}/mlflow-apps/{NAME}"

    def ask(self, route: str, **query: str) -> requests.Response:
        """A GET of the workspace's REST API, as its admin."""
        address = f"{self.workspace.url}/api/2.0/{route}"
        return requests.get(address, params=query, headers=self.workspace.headers(), timeout=30)

    def app(self, name: str = NAME) -> dict[str, Any]:
        """The app as the platform shows it; {} for none."""
        answer = self.ask(f"apps/{name}")
        return dict(answer.json()) if answer.ok else {}

    def call(self, path: str = "/", name: str = NAME) -> Any:
        """What the app answers to the admin."""
        token = self.workspace.account.issue(ADMIN)[0]
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{self.app(name)['url']}{path}", headers=headers, timeout=30).json()

    def files(self, path: str = "") -> dict[str, int]:
        """Files and their sizes in the source folder."""
        answer = self.ask("workspace/list", path=path or self.source)
        return {
            str(each["path"]).rpartition("/")[2]: int(each.get("size", 0)) for each in answer.json().get("objects", ())
        }

    def deployments(self) -> list[dict[str, Any]]:
        """The app's deployments, the newest first."""
        return list(self.ask(f"apps/{NAME}/deployments").json().get("app_deployments", ()))

    def writes(self) -> list[tuple[str, str]]:
        """Requests that change something."""
        return [
            (method, path)
            for method, path, _ in self.workspace.requests
            if method != "GET" and not path.startswith(("/oidc", "/api/2.0/postgres/credentials"))
        ]


def trial(workspace: Workspace) -> Trial:
    """What a test of deployments begins with."""
    unity_catalog.make_volume(workspace.metastore, "main.ml.apps")
    return Trial(workspace, workspace.account.add_service_principal("deployer", "admins"))


def configured(**changed: Any) -> AppConfig:
    """The plain configuration with changes; a key that is None is left out."""
    told = {**PLAIN, **changed}
    return parsed({key: value for key, value in told.items() if value is not None}, "the test")


def own_wheel(folder: Path) -> Path:
    """A wheel of this package with nothing in it: the emulator installs none."""
    version = metadata.version("mlflow-migration")
    file = folder / f"mlflow_migration-{version}-py3-none-any.whl"
    about = f"mlflow_migration-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: mlflow-migration\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return file


def stand_in(mark: str, files: Mapping[str, bytes]) -> Making:
    """A making of the real files whose command is the stand-in: nothing is resolved, nothing heavy is started."""

    def made(config: AppConfig, deployment: Any) -> Mapping[str, bytes]:
        real = dict(render(config, deployment))
        document = {**yaml.safe_load(real["app.yaml"]), "command": ["python", "server.py"]}
        real["app.yaml"] = yaml.safe_dump(document, sort_keys=False).encode()
        return {**real, "server.py": STAND_IN.replace("MARK}", f"{mark!r}}}").encode(), **files}

    return Making(lambda config: Packages("3.17.2", ("click",)), made, lambda config: "")
