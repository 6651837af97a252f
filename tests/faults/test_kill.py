"""A command that is killed or interrupted at any moment is finished by typing it again: no half run, none twice."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Outcome, ServerPool, Tool
from tests.faults import Running, Setting, Stage, run_names, staged
from tests.faults.proxy import Proxy, on, slow

WORDS = ("export", "load", "copy")
# Requests seen before the kill; the numbers are requests of the end that the command mostly talks to.
MOMENTS = {"export": (3, 25, 70), "load": (3, 40, 100), "copy": (3, 40, 100)}
UPLOADS = on("PUT", "mlflow-artifacts/artifacts/")


@pytest.fixture
def stage(shared_folder: Path, template: Path, server_pool: ServerPool, run_tool: Tool) -> Iterator[Stage]:
    """The corpus at the source, nothing at the destination."""
    with staged(Setting(shared_folder, template, server_pool), run_tool) as stage:
        yield stage


def proxy_of(stage: Stage, word: str) -> Proxy:
    """The end whose requests are counted."""
    return stage.src if word == "export" else stage.dst


def begin(stage: Stage, word: str, after: int, seconds: float = 0.03) -> Running:
    """Start the command with every request slowed, and come back when `after` requests have been made."""
    proxy = proxy_of(stage, word)
    proxy.clear()
    proxy.add(slow(seconds), times=None)
    running = stage.start(*getattr(stage, word))
    assert proxy.wait_for(after, seconds=90), str(running.end(1))
    return running


def finish(stage: Stage, word: str) -> None:
    """The same command again, undisturbed, and look at what it has made."""
    for proxy in (stage.src, stage.dst):
        # A killed client leaves requests behind that the server still answers.
        proxy.wait_idle()
        proxy.clear()
    stage.tool(*getattr(stage, word)).expect(0)
    if word == "export":
        stage.exported()
    else:
        stage.arrived()


def kill(running: Running) -> Outcome:
    running.signal(signal.SIGKILL)
    ended = running.end(10)
    assert ended.code == -signal.SIGKILL, str(ended)
    return ended


@pytest.mark.parametrize(("word", "after"), [(word, after) for word in WORDS for after in MOMENTS[word]])
def test_a_killed_command_is_finished_by_the_same_command(stage: Stage, word: str, after: int) -> None:
    if word == "load":
        stage.put_bundle()
    kill(begin(stage, word, after))
    finish(stage, word)


@pytest.mark.parametrize("word", [WORDS[0], *(pytest.param(word, marks=pytest.mark.slow) for word in WORDS[1:])])
def test_a_command_killed_again_and_again_arrives(stage: Stage, word: str) -> None:
    if word == "load":
        stage.put_bundle()
    for after in (8, 16, 24, 32):
        proxy_of(stage, word).wait_idle()
        kill(begin(stage, word, after, seconds=0.05))
    finish(stage, word)


def test_a_killed_export_is_not_taken_for_a_bundle(stage: Stage) -> None:
    kill(begin(stage, "export", 40))
    assert stage.bundle.is_dir()
    for words in (stage.load, ("verify", stage.bundle)):
        ended = stage.tool(*words)
        assert ended.code == 4, str(ended)
        assert "manifest.json" in ended.stderr, str(ended)
    assert run_names(stage.destination) == []


def test_a_killed_import_is_finished_without_its_state(stage: Stage) -> None:
    stage.put_bundle()
    kill(begin(stage, "load", 60))
    shutil.rmtree(stage.tool.home / "ledgers")
    finish(stage, "load")


@pytest.mark.parametrize("word", WORDS)
def test_an_interrupted_command_says_how_to_go_on(stage: Stage, word: str) -> None:
    if word == "load":
        stage.put_bundle()
    running = begin(stage, word, 30)
    running.signal(signal.SIGINT)
    ended = running.end(30)
    assert ended.code == 130, str(ended)
    assert "Traceback" not in ended.stderr, str(ended)
    assert "same command" in ended.stderr, str(ended)
    finish(stage, word)


@pytest.mark.slow
def test_a_second_interrupt_leaves_at_once(stage: Stage) -> None:
    stage.dst.add(slow(8), UPLOADS, times=None)
    running = stage.start(*stage.copy)
    assert stage.dst.wait_for(2, "PUT", seconds=90), str(running.end(1))
    running.signal(signal.SIGINT)
    time.sleep(1)
    assert running.process.poll() is None, "the first one lets running items end"
    started = time.monotonic()
    running.signal(signal.SIGINT)
    ended = running.end(15)
    assert time.monotonic() - started < 4
    assert ended.code == 130, str(ended)
    assert "Traceback" not in ended.stderr, str(ended)
    finish(stage, "copy")


def test_a_terminated_command_is_finished_by_the_same_command(stage: Stage) -> None:
    running = begin(stage, "copy", 40)
    running.signal(signal.SIGTERM)
    assert running.end(30).code != 0
    finish(stage, "copy")


@pytest.mark.parametrize("word", ["export", "copy"])
def test_the_same_command_at_the_same_time_is_refused_or_waits(stage: Stage, word: str) -> None:
    first = begin(stage, word, 15)
    second = stage.start(*getattr(stage, word)).end()
    ended = first.end().expect(0)
    assert "Traceback" not in second.stderr + ended.stderr
    if second.code != 0:
        assert second.code in (1, 2), str(second)
        assert second.stderr.startswith("error: "), str(second)
        assert "running" in second.stderr or "in use" in second.stderr or "another" in second.stderr, str(second)
    finish(stage, word)


def test_two_different_commands_at_the_same_time_do_not_disturb_each_other(stage: Stage) -> None:
    one = stage.start(*stage.copy[:2], "alpha", *stage.copy[3:])
    two = stage.start(*stage.copy[:2], "beta é", *stage.copy[3:])
    one.end().expect(0)
    two.end().expect(0)
    finish(stage, "copy")
