"""Where an app's command runs: a process of its own with a folder of its own, and everything it starts ends with it.

Run as a script, it waits for the end of its standard input and then ends what runs in the folder it was told: what a
test session leaves behind when it is killed. It uses the standard library alone, so that it starts at once.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Start:
    """What to start: the command and its environment, in `folder`, whose `work` is the current one.

    `say` gets each line the command and its children write, `ended` the exit code when the command ends by itself.
    """

    folder: Path
    work: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    say: Callable[[str], None]
    ended: Callable[[int], None]


@dataclass
class Container:
    """A running command. `process` is its own process, which gets SIGTERM; its children are the folder's."""

    folder: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)
    _watcher: "subprocess.Popen[bytes]" = field(repr=False)
    _stopping: threading.Event = field(default_factory=threading.Event, repr=False)
    _over: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def alive(self) -> bool:
        """Whether the command still runs."""
        return self.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Whether the command, and what it started, has ended within so many seconds."""
        return self._over.wait(seconds)

    def stop(self, seconds: float) -> int:
        """SIGTERM to the command, SIGKILL to everything after `seconds` at most; returns the command's exit code.

        What the command started ends with it, as a container does; its disk is gone afterwards.
        """
        self._stopping.set()
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        kill_all(self.folder)
        code = self.process.wait(10)
        self._over.wait(10)
        self._watcher.kill()
        self._watcher.wait(10)
        if self._watcher.stdin:
            self._watcher.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def kill(self) -> None:
        """SIGKILL to everything, as when the machine goes: the app sees it as a crash."""
        kill_all(self.folder)

    def follow(self, start: Start) -> None:
        """Pass the output on until the command ends; then end its children and tell."""
        reader = threading.Thread(target=self._read, args=(start.say,), daemon=True)
        reader.start()
        code = self.process.wait()
        kill_all(self.folder)
        reader.join(10)
        self._over.set()
        if not self._stopping.is_set():
            start.ended(code)

    def _read(self, say: Callable[[str], None]) -> None:
        for line in self.process.stdout or ():
            say(line.decode("utf-8", "replace").rstrip("\r\n"))


def start(what: Start) -> Container:
    """Start it; raises OSError when there is no such command."""
    process = subprocess.Popen(
        list(what.command),
        cwd=what.work,
        env=dict(what.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    watch = [sys.executable, "-S", __file__, str(what.folder)]
    watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
    made = Container(what.folder, process, watcher)
    threading.Thread(target=made.follow, args=(what,), daemon=True, name=f"app in {what.folder.name}").start()
    return made


def kill_all(folder: Path) -> None:
    """SIGKILL to each process whose environment names the folder, until there is none.

    A command may start others in sessions and groups of their own; their environment is what they still share.
    """
    while found := [pid for pid in _processes() if _names(pid, folder)]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and int(one.name) != os.getpid()]


def _names(pid: int, folder: Path) -> bool:
    """Whether a process has the folder in its environment; one that has ended but wasn't waited for has none."""
    try:
        return f"{folder}/".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    sys.stdin.buffer.read()
    kill_all(Path(sys.argv[1]))
