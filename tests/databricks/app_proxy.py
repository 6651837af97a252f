"""An app that is an MLflow server at once: it passes all requests to one that runs already.

Starting a server of its own takes an app many seconds; what tests of addresses and clients look at is before the app.
"""

from databricks.sdk.service.apps import App

from tests.databricks.app_samples import Code, deployed, get
from tests.databricks.clients import sdk
from tests.databricks.state import Account, Workspace
from tests.servers import Server

# Also a status document where the runtime has its own: the file `status.json` of the source code.
PROXY = """
import http.client, http.server, os, pathlib

UPSTREAM = os.environ["UPSTREAM"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        if self.path == "/mlflow-app/status.json" and pathlib.Path("status.json").exists():
            self.answer(200, [("Content-Type", "application/json")], pathlib.Path("status.json").read_bytes())
            return
        connection = http.client.HTTPConnection(UPSTREAM, timeout=120)
        left_out = ("host", "connection", "transfer-encoding", "content-length")
        headers = {key: value for key, value in self.headers.items() if key.lower() not in left_out}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        self.answer(answer.status, answer.getheaders(), answer.read())
        connection.close()

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def log_message(self, *told):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


print("passing on", flush=True)
Server(("0.0.0.0", int(os.environ["DATABRICKS_APP_PORT"])), Handler).serve_forever()
"""
NAME = "mlflow"


def proxied(workspace: Workspace, server: Server, status: str = "") -> App:
    """The app `mlflow` of the workspace, which is that server; `status` is the runtime's document."""
    files: dict[str, str | bytes] = {"app.py": PROXY}
    if status:
        files["status.json"] = status
    code = Code(files, env=({"name": "UPSTREAM", "value": server.url.removeprefix("http://")},))
    app = deployed(sdk(workspace), code, App(name=NAME))
    assert get(workspace, app, "/health").ok
    return app


def oauth(account: Account, workspace: Workspace, *groups: str) -> dict[str, str]:
    """The environment of a service principal of the workspace: what its OAuth login needs, and no profile."""
    client = account.add_service_principal("ci", *(groups or ("admins",)))
    return {
        "DATABRICKS_HOST": workspace.url,
        "DATABRICKS_CLIENT_ID": client.client_id,
        "DATABRICKS_CLIENT_SECRET": client.client_secret,
        "DATABRICKS_CONFIG_FILE": str(account.config_file.with_name("none")),
    }
