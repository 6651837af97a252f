"""The documentation says what the code does, and the commands are those pyproject.toml installs."""

from pathlib import Path

import click
import pytest

from docs.checks import dead_links, poor_commands, stale_pages
from mlflow_migration.cli.commands import COMMANDS
from mlflow_migration.cli.main import all_commands

ROOT = Path(__file__).resolve().parents[2]


def scripts() -> dict[str, str]:
    """The console scripts of pyproject.toml, read plainly since Python 3.10 has no TOML reader."""
    section = (ROOT / "pyproject.toml").read_text("utf-8").split("[project.scripts]\n")[1].split("\n[")[0]
    lines = (line.split(" = ") for line in section.splitlines() if line)
    return {name: target.strip('"') for name, target in lines}


def test_the_generated_reference_is_up_to_date() -> None:
    assert list(stale_pages(ROOT)) == []


def test_every_command_has_an_example_and_every_option_has_help() -> None:
    assert list(poor_commands()) == []


def test_no_link_of_the_documentation_is_dead() -> None:
    assert list(dead_links(ROOT)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# One\n[a](page.md#one) [b](gone.md) [c](#two) `[d](code.md)`\n")
    assert list(dead_links(tmp_path)) == ["page.md: dead link gone.md", "page.md: no heading for #two"]


ALL_COMMANDS = {"mlflow-migration", "mlflow-migration-task"}
"""Scripts that run any command; the second one for tasks of jobs."""


@pytest.mark.parametrize("name", sorted(set(scripts()) - ALL_COMMANDS))
def test_a_console_script_is_a_command_of_the_same_name(name: str) -> None:
    commands: dict[str, click.Command] = {command.name or "": command for command in all_commands()}
    module, _, attribute = scripts()[name].partition(":")
    assert vars(__import__(module, fromlist=[attribute]))[attribute] is commands[name]


def test_every_moving_command_is_a_console_script() -> None:
    moving = {name for name in COMMANDS if name.startswith(("export", "import", "copy"))}
    assert moving <= set(scripts())
