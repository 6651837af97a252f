"""What a person can type wrongly, at every command: one clear message, the right exit code, and nothing left behind.

Every case is typed with `--json`, one of each sort also without.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import Outcome, ServerPool, Tool
from tests.databases import dump
from tests.faults import Setting, here, staged
from tests.servers import Server, free_port

MISSING, USAGE, UNREACHABLE, BROKEN = 1, 2, 3, 4
NO_RUN = "0123456789abcdef0123456789abcdef"

# Complete commands; a case replaces one of the words in braces. {src} and {dst} are servers, {bundle} a good bundle of
# one run, {out} a folder to make, {exp} and {run} exist at the source, {new} is a name that is free at the destination.
COMMANDS = {
    "export-run": "--run-id {run} --output-dir {out} --tracking-uri {src}",
    "export-experiment": "--experiment {exp} --output-dir {out} --tracking-uri {src}",
    "export-experiments": "--experiments {exp} --output-dir {out} --tracking-uri {src}",
    "import-run": "--input-dir {bundle} --experiment-name {new} --tracking-uri {dst}",
    "import-experiment": "--input-dir {bundle} --experiment-name {new} --tracking-uri {dst}",
    "import-experiments": "--input-dir {bundle} --tracking-uri {dst}",
    "copy-run": "--run-id {run} --experiment-name {new} --src-mlflow-uri {src} --dst-mlflow-uri {dst}",
    "copy-experiment": "--experiment {exp} --experiment-name {new} --src-mlflow-uri {src} --dst-mlflow-uri {dst}",
    "copy-experiments": "--experiments {exp} --src-mlflow-uri {src} --dst-mlflow-uri {dst}",
    "verify": "{src} {dst}",
    "diff": "{src} {dst}",
    "plan": "{src} {dst}",
    "id-map": "{dst}",
    "doctor": "{src} {dst}",
}
MOVING = tuple(command for command in COMMANDS if "-run" in command or "-experiment" in command)


def having(word: str) -> list[str]:
    """The commands that take this word."""
    return [command for command, words in COMMANDS.items() if word in words]


@dataclass(frozen=True)
class Case:
    """One mistake: the command, the words replaced, options added, the exit code, and what the message must name."""

    command: str
    what: str
    code: int
    words: dict[str, str] = field(default_factory=dict)
    more: tuple[str, ...] = ()
    names: str = ""

    @property
    def id(self) -> str:
        """The test's name."""
        return f"{self.command}-{self.what}".replace(" ", "_")


def cases() -> Iterator[Case]:
    """All mistakes at all commands."""
    for command in having("{exp}"):
        yield Case(command, "no such experiment", MISSING, {"exp": "no-such-experiment"}, names="no-such-experiment")
        yield Case(command, "empty name", USAGE, {"exp": ""})
        yield Case(command, "malformed filter", USAGE, more=("--filter", "metrics. <<< 'x"), names="filter")
        yield Case(command, "malformed time", USAGE, more=("--run-start-time", "yesterday-ish"), names="yesterday-ish")
    for command in having("{run}"):
        yield Case(command, "no such run", MISSING, {"run": NO_RUN}, names=NO_RUN)
        yield Case(command, "empty run id", USAGE, {"run": ""})
    for command in having("--experiment-name"):
        yield Case(command, "empty new name", USAGE, {"new": ""})
    for end in ("src", "dst"):
        for command in having(f"{{{end}}}"):
            yield Case(command, f"dead {end}", UNREACHABLE, {end: "{dead}"}, names="{dead}")
    for command in ("export-experiments", "import-experiments", "copy-run", "verify", "doctor", "plan", "id-map"):
        end = "src" if "{src}" in COMMANDS[command] else "dst"
        yield Case(command, "not MLflow", UNREACHABLE, {end: "{page}"}, names="{page}")
        yield Case(command, "unknown alias", USAGE, {end: "@nowhere"}, names="@nowhere")
        yield Case(command, "strange address", USAGE, {end: "ftp://example.org"}, names="ftp://example.org")
    for command in having("{bundle}"):
        yield Case(command, "missing folder", BROKEN, {"bundle": "{nothing}"}, names="{nothing}")
        yield Case(command, "empty folder", BROKEN, {"bundle": "{empty}"}, names="{empty}")
    yield Case(
        "import-experiments", "missing rename file", USAGE, more=("--experiment-rename-file", "no.csv"), names="no.csv"
    )
    yield Case(
        "import-experiments",
        "malformed rename file",
        USAGE,
        more=("--experiment-rename-file", "bad.csv"),
        names="bad.csv",
    )
    yield Case("export-experiments", "missing list", USAGE, {"exp": "no-list.txt"}, names="no-list.txt")
    for command in COMMANDS:
        yield Case(command, "unknown option", USAGE, more=("--frobnicate",), names="--frobnicate")
    for command in MOVING:
        yield Case(command, "no workers", USAGE, more=("--workers", "0"), names="workers")
    yield Case("export-experiments", "unknown report", USAGE, more=("--report", "report.docx"), names="report.docx")
    yield Case("export-experiments", "malformed size", USAGE, more=("--max-artifact-size", "large"), names="large")
    yield Case(
        "copy-experiments", "unknown loss", USAGE, more=("--allow-loss", "everything-else"), names="everything-else"
    )


CASES = list(cases())
PLAIN = {case.id for case in {case.what: case for case in CASES}.values()}


class _Page(BaseHTTPRequestHandler):
    """A web server that knows nothing of MLflow and answers everything by a page."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = b"<!doctype html><title>It works</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """The address of a web server that isn't MLflow."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Desk:
    """Two servers, a bundle, and what can take their place."""

    source: Server
    destination: Server
    words: dict[str, str]
    tool: Tool

    def fails(self, case: Case) -> None:
        """Type it; look at what is said and that nothing is left."""
        words = {**self.words, **{name: value.format_map(self.words) for name, value in case.words.items()}}
        typed = [case.command, *(part.format_map(words) for part in COMMANDS[case.command].split(" ")), *case.more]
        before = self.everything()
        name = case.names.format_map(self.words)
        document = here(self.tool, *typed, "--json").expect(case.code)
        tells(document, case.code, name)
        # What is wrong with a place is what doctor is asked for: it stands in its answer, not on stderr.
        if case.command != "doctor":
            says(document, name, usage=case.code == USAGE)
        if case.command != "doctor" and case.id in PLAIN:
            plain = self.tool(*typed, timeout=60).expect(case.code)
            says(plain, name, usage=case.code == USAGE)
            assert plain.stdout == "", plain
        assert self.everything() == before

    def everything(self) -> tuple[object, ...]:
        """All rows and files of both servers, and all files beside the tool's own ledgers and logs."""
        files = {file for file in self.tool.home.rglob("*") if kept(self.tool.home, file)}
        return dump(self.source), dump(self.destination), files


def kept(home: Path, file: Path) -> bool:
    """Whether a file counts: the tool's own ledgers and logs do not."""
    return file.relative_to(home).parts[0] not in ("ledgers", "state")


def says(ended: Outcome, name: str, usage: bool = False) -> None:
    """One clear message on stderr. For words that click refuses, click's own message does."""
    first = "Usage: " if usage and ended.stderr.startswith("Usage: ") else "error: "
    assert ended.stderr.startswith(first), ended
    assert "Traceback" not in ended.stderr, ended
    assert len(ended.stderr.splitlines()) <= 8, ended
    assert name in ended.stderr, f"does not name {name!r}\n{ended}"
    assert [line.lower().startswith("error: ") for line in ended.stderr.splitlines()].count(True) == 1, ended


def tells(ended: Outcome, code: int, name: str) -> None:
    """One JSON document on stdout that says the same."""
    document = ended.json
    assert document["ok"] is False, ended
    assert document["exit_code"] == code, ended
    assert document["error"]["code"] == code, ended
    assert document["error"]["message"], ended
    assert name in ended.stdout, f"does not name {name!r}\n{ended}"
    assert "Traceback" not in ended.stderr, ended


@pytest.fixture(scope="module")
def desk(
    shared_folder: Path, template: Path, server_pool: ServerPool, tmp_path_factory: pytest.TempPathFactory, page: str
) -> Iterator[Desk]:
    """Everything is set up once: no case may change it."""
    tool = Tool(tmp_path_factory.mktemp("home-"), {"MLFLOW_MIGRATION_PATIENCE": "1"})
    with staged(Setting(shared_folder, template, server_pool), tool) as stage:
        one = ("--run-id", stage.corpus.runs["alpha 0"], "--output-dir", stage.bundle)
        tool("export-run", *one, "--tracking-uri", stage.source.url).expect(0)
    (tool.home / "empty").mkdir()
    (tool.home / "bad.csv").write_text("only-one-column\n")
    words = {
        "src": stage.source.url,
        "dst": stage.destination.url,
        "bundle": str(stage.bundle),
        "out": str(tool.home / "out"),
        "exp": "alpha",
        "run": stage.corpus.runs["alpha 0"],
        "new": "new-name",
        "dead": f"http://127.0.0.1:{free_port()}",
        "page": page,
        "nothing": str(tool.home / "nothing"),
        "empty": str(tool.home / "empty"),
    }
    yield Desk(stage.source, stage.destination, words, tool)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_a_mistake_is_told_and_leaves_nothing(desk: Desk, case: Case) -> None:
    desk.fails(case)


CONFIGS = {
    "unknown key": ("placess:\n  prod: http://127.0.0.1:1\n", "placess"),
    "no YAML": ("places: [unclosed\n", "mlflow-migration.yml"),
    "a list": ("- one\n- two\n", "mlflow-migration.yml"),
    "a number for a place": ("places:\n  prod: 7\n", "prod"),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("command", ["copy-experiments", "config", "verify"])
def test_a_malformed_configuration_is_told(desk: Desk, tmp_path: Path, command: str, name: str) -> None:
    text, named = CONFIGS[name]
    tool = Tool(tmp_path / "home")
    tool.home.mkdir()
    (tool.home / "mlflow-migration.yml").write_text(text)
    words = ["show"] if command == "config" else COMMANDS[command].format_map(desk.words).split(" ")
    says(here(tool, command, *words).expect(USAGE), named)
    tells(here(tool, command, *words, "--json").expect(USAGE), USAGE, named)


@pytest.mark.parametrize("command", MOVING)
def test_without_a_place_the_command_says_which_one_is_missing(desk: Desk, command: str) -> None:
    words = COMMANDS[command].format_map(desk.words).split(" ")
    for option in ("--tracking-uri", "--src-mlflow-uri", "--dst-mlflow-uri"):
        with contextlib.suppress(ValueError):
            place = words.index(option)
            del words[place : place + 2]
    before = dump(desk.destination)
    says(here(desk.tool, command, *words).expect(USAGE), "MLFLOW_TRACKING_URI")
    tells(here(desk.tool, command, *words, "--json").expect(USAGE), USAGE, "MLFLOW_TRACKING_URI")
    assert dump(desk.destination) == before


@pytest.mark.parametrize("command", MOVING)
def test_a_command_without_its_words_says_which_are_missing(desk: Desk, command: str) -> None:
    ended = here(desk.tool, command).expect(USAGE)
    assert "Missing option" in ended.stderr or ended.stderr.startswith("error: "), ended
    assert ended.stdout == ""


def test_an_unknown_command_is_told(desk: Desk) -> None:
    ended = here(desk.tool, "exprot-experiments").expect(USAGE)
    assert "exprot-experiments" in ended.stderr
    assert ended.stdout == ""


def test_a_server_copied_onto_itself_stays_as_it_is(desk: Desk) -> None:
    place = desk.words["src"]
    before = desk.everything()
    words = ("copy-experiments", "--experiments", "all", "--src-mlflow-uri", place, "--dst-mlflow-uri", place)
    here(desk.tool, *words)
    assert desk.everything() == before
