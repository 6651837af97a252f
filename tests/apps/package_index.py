"""A package index for the tests: a real HTTP server with projects that a test makes up, in HTML or JSON."""

import contextlib
import hashlib
import html
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class PackageIndex:
    """What it serves: files by project and name; `yanked` are names of files, `uploaded` those it was sent."""

    url: str = ""
    as_json: bool = True
    closed: bool = False
    broken: int = 0
    projects: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requires: dict[str, str] = field(default_factory=dict)
    yanked: set[str] = field(default_factory=set)
    uploaded: list[str] = field(default_factory=list)

    def add(self, project: str, *versions: str) -> None:
        """Wheels that hold nothing but their name."""
        for version in versions:
            name = f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
            self.projects.setdefault(project, {})[name] = wheel({})

    def add_mlflow(self, *versions: str) -> None:
        """All three parts of MLflow."""
        for project in ("mlflow", "mlflow-skinny", "mlflow-tracing"):
            self.add(project, *versions)


def wheel(files: Mapping[str, bytes]) -> bytes:
    """A zip file of these files."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


@contextlib.contextmanager
def serving(index: PackageIndex) -> Iterator[PackageIndex]:
    """Serve an index for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, kind, body = _answer(index, self.path, self.headers.get("Authorization", ""))
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            found = re.search(rb'name="content"; filename="([^"]+)"', sent)
            if found and self.headers.get("Authorization", "").startswith("Basic "):
                index.uploaded.append(found[1].decode())
            self.send_response(200 if found else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """The test's output is its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple/"
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _answer(index: PackageIndex, path: str, authorization: str) -> tuple[int, str, bytes]:
    if index.broken:
        index.broken -= 1
        return 503, "text/plain", b"busy"
    if index.closed and not authorization.startswith("Basic "):
        return 401, "text/plain", b"who are you"
    parts = path.strip("/").split("/")
    if parts[0] == "files" and parts[-1] in index.projects.get(parts[1], {}):
        return 200, "application/octet-stream", index.projects[parts[1]][parts[-1]]
    if parts[0] != "simple" or parts[-1] not in index.projects:
        return 404, "text/html", b"no"
    files = index.projects[parts[-1]]
    return _json(index, parts[-1], files) if index.as_json else _html(index, parts[-1], files)


def _json(index: PackageIndex, project: str, files: Mapping[str, bytes]) -> tuple[int, str, bytes]:
    listed = [
        {
            "filename": name,
            "url": f"../../files/{project}/{name}",
            "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
            "requires-python": index.requires.get(name, ">=3.10"),
            "yanked": "broken" if name in index.yanked else False,
        }
        for name, content in files.items()
    ]
    document = {"meta": {"api-version": "1.0"}, "name": project, "files": listed}
    return 200, "application/vnd.pypi.simple.v1+json", json.dumps(document).encode()


def _html(index: PackageIndex, project: str, files: Mapping[str, bytes]) -> tuple[int, str, bytes]:
    lines = []
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        python = html.escape(index.requires.get(name, ">=3.10"), quote=True)
        yanked = ' data-yanked="broken"' if name in index.yanked else ""
        href = f"/files/{project}/{name}#sha256={digest}"
        lines.append(f'<a href="{href}" data-requires-python="{python}"{yanked}>{name}</a><br/>')
    return 200, "text/html; charset=utf-8", f"<!DOCTYPE html><html><body>{''.join(lines)}</body></html>".encode()
