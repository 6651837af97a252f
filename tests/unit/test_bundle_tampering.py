"""A bundle that was changed, cut or made by somebody hostile is refused before anything is written.

`TAMPERED` changes a file and leaves the checksums alone. `FORGED` is what a hostile author can do: all checksums are
made anew, so that only the checks of the content are left.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ServerPool, Tool
from tests.databases import dump
from tests.faults import Setting, here, staged
from tests.servers import Server

Json = dict[str, Any]
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"


@dataclass(frozen=True)
class Folder:
    """A copy of the bundle, and the files of its first run to break."""

    path: Path

    @property
    def run(self) -> Path:
        """The folder of the first run that has metrics and two artifacts."""
        return min(file.parent for file in self.path.rglob("run.json") if len(self.artifacts(file.parent)) > 1)

    @property
    def head(self) -> Path:
        return self.run / "run.json"

    @property
    def metrics(self) -> Path:
        return self.run / "metrics.jsonl"

    @property
    def artifact(self) -> Path:
        return self.artifacts(self.run)[0]

    @staticmethod
    def artifacts(run: Path) -> list[Path]:
        return sorted(file for file in (run / "artifacts").rglob("*") if file.is_file())

    def seal(self) -> None:
        """Make every checksum anew, as a hostile author does."""
        for head in self.path.rglob("run.json"):
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self._seal_files(head)
        files = [file for file in self.path.rglob("*") if file.is_file() and file.name not in (MANIFEST, SUMS)]
        names = sorted((file.relative_to(self.path).as_posix(), file) for file in files)
        sums = "".join(f"{sha256(file)}  {name}\n" for name, file in names).encode()
        (self.path / SUMS).write_bytes(sums)
        manifest = read(self.path / MANIFEST)
        manifest["info"]["sha256sums"] = hashlib.sha256(sums).hexdigest()
        write(self.path / MANIFEST, manifest)

    @staticmethod
    def _seal_files(head: Path) -> None:
        data = read(head)
        for entry in data["info"]["files"]:
            file = head.parent / entry["file"]
            if file.is_file():
                entry["bytes"], entry["sha256"] = file.stat().st_size, sha256(file)
        write(head, data)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read(file: Path) -> Json:
    data: Json = json.loads(file.read_text("utf-8"))
    return data


def write(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data), "utf-8")


def change(file: Path, edit: Callable[[Json], object]) -> str:
    """Edit a JSON file; returns the name that the complaint has to mention."""
    data = read(file)
    edit(data)
    write(file, data)
    return file.name


def flip(file: Path) -> str:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return file.name


def cut(file: Path) -> str:
    file.write_bytes(file.read_bytes()[:-7])
    return file.name


def remove(file: Path) -> str:
    file.unlink()
    return file.name


def surplus(folder: Folder) -> str:
    (folder.run / "artifacts" / "surplus.bin").write_bytes(b"!")
    return "surplus.bin"


def surplus_at_the_top(folder: Folder) -> str:
    (folder.path / "evil.json").write_text("{}")
    return "evil.json"


def sums_line_removed(folder: Folder) -> str:
    lines = (folder.path / SUMS).read_text("utf-8").splitlines(keepends=True)
    (folder.path / SUMS).write_text("".join(line for line in lines if "metrics.jsonl" not in line), "utf-8")
    return SUMS


def sums_changed_with_the_file(folder: Folder) -> str:
    before = sha256(folder.artifact)
    flip(folder.artifact)
    text = (folder.path / SUMS).read_text("utf-8")
    (folder.path / SUMS).write_text(text.replace(before, sha256(folder.artifact)), "utf-8")
    return SUMS


def manifest_text(text: str) -> Callable[[Folder], str]:
    def tamper(folder: Folder) -> str:
        (folder.path / MANIFEST).write_text(text, "utf-8")
        return MANIFEST

    return tamper


def swapped(folder: Folder) -> str:
    first, second = Folder.artifacts(folder.run)[:2]
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    return first.name


def pipe(folder: Folder) -> str:
    name = folder.artifact.name
    folder.artifact.unlink()
    os.mkfifo(folder.run / "artifacts" / name)
    return name


TAMPERED: dict[str, Callable[[Folder], str]] = {
    "a byte of run.json": lambda folder: flip(folder.head),
    "a byte of metrics.jsonl": lambda folder: flip(folder.metrics),
    "a byte of an artifact": lambda folder: flip(folder.artifact),
    "run.json missing": lambda folder: remove(folder.head),
    "metrics.jsonl missing": lambda folder: remove(folder.metrics),
    "an artifact missing": lambda folder: remove(folder.artifact),
    "experiment.json missing": lambda folder: remove(folder.run.parent / "experiment.json"),
    "a surplus artifact": surplus,
    "a surplus file at the top": surplus_at_the_top,
    "metrics.jsonl cut": lambda folder: cut(folder.metrics),
    "an artifact cut": lambda folder: cut(folder.artifact),
    "two artifacts swapped": swapped,
    "a pipe in place of an artifact": pipe,
    "SHA256SUMS missing": lambda folder: remove(folder.path / SUMS),
    "SHA256SUMS without a line": sums_line_removed,
    "SHA256SUMS changed with its file": sums_changed_with_the_file,
    "SHA256SUMS cut": lambda folder: cut(folder.path / SUMS),
    "manifest.json missing": lambda folder: remove(folder.path / MANIFEST),
    "manifest.json empty": manifest_text(""),
    "manifest.json malformed": manifest_text('{"system": {'),
    "manifest.json a list": manifest_text("[]"),
    "manifest.json without parts": manifest_text("{}"),
}


def entry(**fields: object) -> Callable[[Folder], str]:
    """Change the first artifact's entry in run.json."""
    return lambda folder: change(folder.head, lambda data: data["info"]["files"][0].update(fields))


def info(**fields: object) -> Callable[[Folder], str]:
    """Change the run's `info` as the REST API shows it."""
    return lambda folder: change(folder.head, lambda data: rest_head(data)["info"].update(fields))


def content(**fields: object) -> Callable[[Folder], str]:
    """Change the run's `data`: params, tags, metrics."""
    return lambda folder: change(folder.head, lambda data: rest_head(data)["data"].update(fields))


def rest_head(data: Json) -> Json:
    """The run as the REST API shows it, whether or not it is wrapped in `run`."""
    head: Json = data["mlflow"].get("run", data["mlflow"])
    return head


def points(line: str) -> Callable[[Folder], str]:
    def forge(folder: Folder) -> str:
        with folder.metrics.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        return folder.metrics.name

    return forge


def head_text(text: str) -> Callable[[Folder], str]:
    def forge(folder: Folder) -> str:
        folder.head.write_text(text, "utf-8")
        return folder.head.name

    return forge


def a_huge_head(folder: Folder) -> str:
    with folder.head.open("r+b") as file:
        file.truncate(300_000_000)
    return folder.head.name


def a_file_elsewhere(folder: Folder) -> str:
    secret = folder.path.parent / "secret.txt"
    secret.write_text("secret")
    return entry(file="../../../../secret.txt", sha256=sha256(secret), bytes=6)(folder)


def an_absolute_file(folder: Folder) -> str:
    secret = folder.path.parent / "secret.txt"
    secret.write_text("secret")
    return entry(file=str(secret), sha256=sha256(secret), bytes=6)(folder)


def a_file_of_another_run(folder: Folder) -> str:
    other = next(file for file in sorted(folder.path.rglob("run.json")) if file.parent != folder.run)
    return entry(file=f"../{other.parent.name}/run.json", sha256=sha256(other), bytes=other.stat().st_size)(folder)


def a_link_out(folder: Folder) -> str:
    name = folder.artifact.name
    secret = folder.path.parent / "secret.txt"
    secret.write_text("secret")
    link = folder.artifact
    link.unlink()
    link.symlink_to(secret)
    return name


def a_linked_folder(folder: Folder) -> str:
    artifacts, outside = folder.run / "artifacts", folder.path.parent / "outside"
    shutil.move(artifacts, outside)
    artifacts.symlink_to(outside)
    return "artifacts"


def a_linked_head(folder: Folder) -> str:
    head, outside = folder.head, folder.path.parent / "run-elsewhere.json"
    shutil.move(head, outside)
    head.symlink_to(outside)
    return "run.json"


def the_same_run_twice(folder: Folder) -> str:
    shutil.copytree(folder.run, folder.run.parent / ("f" * 32))
    return "run.json"


def the_same_experiment_twice(folder: Folder) -> str:
    shutil.copytree(folder.run.parent, folder.run.parent.parent / "4711")
    return ".json"


def the_same_file_twice(folder: Folder) -> str:
    return change(folder.head, lambda data: data["info"]["files"].append(dict(data["info"]["files"][0])))


def a_strange_experiment(**fields: object) -> Callable[[Folder], str]:
    def forge(folder: Folder) -> str:
        def edit(data: Json) -> None:
            head = data["mlflow"].get("experiment", data["mlflow"])
            head.update(fields)

        return change(folder.run.parent / "experiment.json", edit)

    return forge


def version(value: object) -> Callable[[Folder], str]:
    def forge(folder: Folder) -> str:
        def edit(data: Json) -> None:
            assert "format" in data["info"], "the manifest names its format version"
            data["info"]["format"] = value

        return change(folder.path / MANIFEST, edit)

    return forge


def a_strange_line_in_sums(folder: Folder) -> str:
    outside = folder.path.parent / "secret.txt"
    outside.write_text("secret")
    (folder.path / SUMS).open("a").write(f"{sha256(outside)}  ../secret.txt\n")
    manifest = read(folder.path / MANIFEST)
    manifest["info"]["sha256sums"] = sha256(folder.path / SUMS)
    write(folder.path / MANIFEST, manifest)
    return SUMS


FORGED: dict[str, Callable[[Folder], str]] = {
    "an artifact path that climbs out": entry(path="../../evil"),
    "an artifact path that climbs out in the middle": entry(path="a/../../../evil"),
    "an absolute artifact path": entry(path="/etc/evil"),
    "an empty artifact path": entry(path=""),
    "an artifact path that is a dot": entry(path="."),
    "a NUL in an artifact path": entry(path="a\0b"),
    "an artifact path that is no text": entry(path=["a"]),
    "a file entry that climbs out": a_file_elsewhere,
    "an absolute file entry": an_absolute_file,
    "a file entry in another run": a_file_of_another_run,
    "a negative size": lambda folder: change(
        folder.head,
        lambda data: data["info"]["files"].append({"path": "x", "file": "x", "bytes": -1, "sha256": "0" * 64}),
    ),
    "a link out of the folder": a_link_out,
    "a linked artifact folder": a_linked_folder,
    "a linked run.json": a_linked_head,
    "the same run twice": the_same_run_twice,
    "the same experiment twice": the_same_experiment_twice,
    "the same artifact twice": the_same_file_twice,
    "deeply nested JSON": head_text("[" * 100_000 + "]" * 100_000),
    "a number of 10,000 digits": head_text('{"system": {}, "info": {}, "mlflow": ' + "9" * 10_000 + "}"),
    "a head of 300 MB": a_huge_head,
    "a head that is no JSON": head_text("run: 1\n"),
    "a head that is a list": head_text("[1, 2]"),
    "a head without parts": head_text("{}"),
    "bytes that are no UTF-8": lambda folder: (folder.head.write_bytes(b'{"system": "\xff"}'), "run.json")[1],
    "files that are no list": lambda folder: change(folder.head, lambda data: data["info"].update(files={"a": 1})),
    "a start that is no number": info(start_time="yesterday"),
    "a run id that is a path": info(run_id="../../evil"),
    "a run id with a NUL": info(run_id="a\0b"),
    "a run id that is no text": info(run_id=7),
    "an unknown lifecycle": info(lifecycle_stage="eaten"),
    "an unknown status": info(status="EATEN"),
    "tags that are no pairs": content(tags={"a": "b"}),
    "params that are numbers": content(params=[1, 2]),
    "a tag whose value is a list": content(tags=[{"key": "a", "value": [1]}]),
    "a metrics line that is no JSON": points("loss 1 2 3"),
    "a metrics line without a key": points('{"points": [[0, 0, 1.0]]}'),
    "a metrics line that is a list": points("[1]"),
    "a step that is text": points('{"key": "loss", "points": [["one", 0, 1.0]]}'),
    "a step that is a fraction": points('{"key": "loss", "points": [[0.5, 0, 1.0]]}'),
    "a step of 70 bits": points('{"key": "loss", "points": [[1180591620717411303424, 0, 1.0]]}'),
    "a point of two numbers": points('{"key": "loss", "points": [[0, 1.0]]}'),
    "a value that is text": points('{"key": "loss", "points": [[0, 0, "high"]]}'),
    "a value that is a list": points('{"key": "loss", "points": [[0, 0, []]]}'),
    "an endless metrics line": points('{"key": "loss", "points": [' + "[0, 0, 1.0], " * 1_500_000 + "[1, 0, 1.0]]}"),
    "an experiment id that is a path": a_strange_experiment(experiment_id="../../evil"),
    "an experiment without a name": a_strange_experiment(name=""),
    "an experiment name that is a number": a_strange_experiment(name=5),
    "a format version of the future": version(999),
    "a format version that is text": version("new"),
    "a checksum of a file outside": a_strange_line_in_sums,
}
SEALED_BY_HAND = {"a checksum of a file outside"}


@dataclass(frozen=True)
class Desk:
    """A copy of the bundle, an empty destination, and the tool."""

    folder: Folder
    tool: Tool
    destination: Server

    def refused(self, name: str) -> None:
        """Both commands exit 4 and name the file; nothing is written anywhere but in the tool's state folder."""
        place, before = self.folder.path.parent, dump(self.destination)
        files = set(place.rglob("*"))
        load = ("import-experiments", "--input-dir", self.folder.path, "--tracking-uri", self.destination.url)
        for words in (load, ("verify", self.folder.path)):
            ended = here(self.tool, *words).expect(4)
            assert ended.stderr.startswith("error: "), ended
            assert "Traceback" not in ended.stderr, ended
            assert name in ended.stderr, f"does not name {name}\n{ended}"
            assert len(ended.stderr) < 3000, "a clear message is short"
        assert dump(self.destination) == before
        assert set(place.rglob("*")) == files


@pytest.fixture(scope="module")
def untouched(
    shared_folder: Path, template: Path, server_pool: ServerPool, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle as the tool makes it."""
    with staged(Setting(shared_folder, template, server_pool), Tool(tmp_path_factory.mktemp("home-"))) as stage:
        stage.put_bundle()
        return stage.bundle


@pytest.fixture
def desk(untouched: Path, server_pool: ServerPool, tmp_path: Path, run_tool: Tool) -> Desk:
    """A fresh copy of the bundle; the destination stays as empty as it was, since nothing may be written."""
    shutil.copytree(untouched, tmp_path / "place" / "bundle")
    return Desk(Folder(tmp_path / "place" / "bundle"), run_tool, server_pool("destination"))


def test_coreutils_finds_an_untouched_bundle_whole(untouched: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(command, cwd=untouched, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    listed = {line[66:] for line in (untouched / SUMS).read_text("utf-8").splitlines()}
    there = {file.relative_to(untouched).as_posix() for file in untouched.rglob("*") if file.is_file()}
    assert there - listed == {SUMS, MANIFEST}
    assert listed <= there


def test_an_untouched_bundle_is_whole(untouched: Path, run_tool: Tool) -> None:
    here(run_tool, "verify", untouched).expect(0)


def test_a_bundle_sealed_anew_is_whole(desk: Desk) -> None:
    """The forgeries below are refused for their content, not for a mistake in these tests' checksums."""
    desk.folder.seal()
    here(desk.tool, "verify", desk.folder.path).expect(0)


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_bundle_is_refused(desk: Desk, name: str) -> None:
    desk.refused(TAMPERED[name](desk.folder))


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_bundle_is_refused(desk: Desk, name: str) -> None:
    named = FORGED[name](desk.folder)
    if name not in SEALED_BY_HAND:
        desk.folder.seal()
    desk.refused(named)
