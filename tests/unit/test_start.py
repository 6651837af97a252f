"""The command line starts at once: help and version import nothing that only the work needs."""

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import get_completion_class

from docs.generate import walk_commands
from mlflow_migration.cli import later, options
from mlflow_migration.cli.command import Group
from mlflow_migration.cli.commands import COMMANDS, command_of
from mlflow_migration.cli.main import all_commands, main
from mlflow_migration.objects import KINDS
from tests.unit.test_docs import scripts

HEAVY = frozenset(
    {
        "databricks",
        "google",
        "jinja2",
        "matplotlib",
        "mlflow",
        "numpy",
        "opentelemetry",
        "pandas",
        "pydantic",
        "requests",
        "rich",
    }
    | {"sqlalchemy", "tenacity", "urllib3", "yaml"}
)
OWN = ("mlflow_migration.objects", "mlflow_migration.pipeline", "mlflow_migration.server", "mlflow_migration.bundle")
ONE_OF_EACH_MODULE = sorted({module: name for name, (module, _) in COMMANDS.items()}.values())
PROBE = """
import json, sys
sys.argv = json.loads(sys.argv[1])
module, _, function = {target!r}.partition(":")
try:
    getattr(__import__(module, fromlist=[function]), function)()
except SystemExit as ended:
    print(json.dumps([ended.code or 0, sorted(sys.modules)]), file=sys.stderr)
"""


def imported(target: str, *words: str) -> set[str]:
    """The modules a fresh interpreter has imported when a console script has ended well."""
    command = [sys.executable, "-c", PROBE.format(target=target), json.dumps(["script", *words])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert (code, bool(done.stdout)) == (0, True)
    return set(modules)


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] in HEAVY or name.startswith(OWN)}


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_the_umbrella_imports_no_command_and_nothing_heavy(word: str) -> None:
    modules = imported("mlflow_migration.cli.main:main", word)
    assert heavy(modules) == set()
    assert not modules & {f"mlflow_migration.cli.{module}" for module, _ in COMMANDS.values()}


@pytest.mark.parametrize("name", ONE_OF_EACH_MODULE)
def test_the_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    target = f"mlflow_migration.cli.{COMMANDS[name][0]}:{name.replace('-', '_')}"
    assert scripts().get(name, target) == target
    assert heavy(imported(target, "--help")) == set()


def test_every_command_is_in_the_list_with_the_words_its_own_help_begins_with() -> None:
    for name, (_, text) in COMMANDS.items():
        assert (name, text) == (command_of(name).name, command_of(name).get_short_help_str(1000))


def test_the_help_is_that_of_a_group_that_has_imported_them_all() -> None:
    plain = Group(main.name, commands=list(all_commands()), params=main.params, help=main.help)
    given: dict[str, Any] = {"info_name": "mlflow-migration", "help_option_names": ["-h", "--help"]}
    contexts = [click.Context(group, **given) for group in (main, plain)]
    assert contexts[0].get_help() == contexts[1].get_help()


def test_no_command_of_the_modules_is_missing_in_the_list() -> None:
    every = {name.rpartition(" ")[2] for name, _ in walk_commands(map(command_of, COMMANDS))}
    modules = [found for name, found in sys.modules.items() if name.startswith("mlflow_migration.cli.")]
    values = [value for module in modules for value in vars(module).values() if isinstance(value, click.Command)]
    assert {value.name for value in values if value is not main} == every


def test_a_shell_completes_names_and_options() -> None:
    shell = get_completion_class("bash")
    assert shell is not None
    complete = shell(main, {}, "mlflow-migration", "_MLFLOW_MIGRATION_COMPLETE").get_completions
    assert [found.value for found in complete([], "copy-r")] == ["copy-run"]
    assert {found.value for found in complete([], "")} == set(COMMANDS)
    assert "--run-id" in [found.value for found in complete(["copy-run"], "--run")]
    assert "--version" in [found.value for found in complete([], "--")]


def test_what_can_be_waived_names_every_kind() -> None:
    assert sorted(options.WHOLE) == sorted(set(KINDS) - {"experiment", "run"})


def test_what_is_imported_later_is_the_module_of_its_name() -> None:
    seen = {
        alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(Path(later.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlflow_migration")
        for alias in node.names
    }
    assert sorted(seen) == sorted(later.__all__)
    for name, module in seen.items():
        assert vars(later)[name].__name__ == import_module(module).__name__ == module
