"""Gates that run something: the model in a process of its own, and checks of the user's own."""

import json
import time
from collections.abc import Callable
from importlib.metadata import version as version_of
from pathlib import Path

import pytest

from mlflow_migration.promotion import facts
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.gates import decide
from mlflow_migration.promotion.policy import parsed
from mlflow_migration.promotion.verdicts import Case, Verdict
from mlflow_migration.server.live import Server as Live
from tests import servers
from tests.conftest import ServerPool
from tests.promotion.conftest import Trained
from tests.promotion.test_policy import WHOLE
from tests.rest import Api, upload
from tests.servers import Server

Decided = Callable[..., list[Verdict]]


@pytest.fixture
def dev(trained: Trained, server_pool: ServerPool) -> Server:
    server = server_pool("source")
    servers.reset(server, trained.content)
    return server


@pytest.fixture
def decided(dev: Server, trained: Trained, connect: Callable[[Server], Live], tmp_path: Path) -> Decided:
    """What gates say of a week's version, the first week's being the champion; checks are run in `tmp_path`."""
    live = connect(dev)

    def ask(word: str, *gates: dict[str, object]) -> list[Verdict]:
        def holder(alias: str) -> Version:
            return facts.version(live, "churn", trained["first"])

        case = Case(facts.version(live, "churn", trained[word]), holder, "churn", "dev", "test", "champion", tmp_path)
        policy = parsed({**WHOLE, "rules": [{"gates": list(gates)}]}, "test")
        return decide(policy.gates("churn", "prod"), case)

    return ask


def command(*words: str, **more: object) -> dict[str, object]:
    return {"gate": "check", "name": "mine", "command": list(words), **more}


def test_a_command_gets_the_facts_and_gives_the_verdict(decided: Decided, tmp_path: Path) -> None:
    (tmp_path / "check.sh").write_text('cat > seen.json; echo \'{"passed": false, "reason": "too brave"}\'\n')
    (verdict,) = decided("better", command("sh", "check.sh"))
    assert (verdict.passed, verdict.name, verdict.reason) == (False, "mine", "too brave")
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert (seen["model"], seen["from"], seen["to"]) == ("churn", "dev", "test")
    assert seen["version"]["metrics"]["roc_auc"] == 0.84
    assert seen["holder"]["metrics"]["roc_auc"] == 0.8
    assert seen["version"]["params"]["rows"] == "400"
    assert {file["path"] for file in seen["version"]["files"]} >= {"MLmodel", "requirements.txt"}


def test_a_python_function_gives_the_verdict_and_may_print_what_it_likes(decided: Decided, tmp_path: Path) -> None:
    (tmp_path / "fairness.py").write_text(
        "def gap(facts):\n"
        "    print('looking')\n"
        "    found = facts['version']['metrics']\n"
        "    gap = abs(found['recall_north'] - found['recall_south'])\n"
        "    return {'passed': gap < 0.1, 'reason': f'gap {gap:.2f}', 'found': f'{gap:.2f}'}\n"
    )
    gate = {"gate": "check", "python": "fairness:gap"}
    assert decided("better", gate)[0].passed
    (verdict,) = decided("hurts the south", gate)
    assert (verdict.passed, verdict.found, verdict.reason) == (False, "0.40", "gap 0.40")


@pytest.mark.parametrize(
    ("words", "found", "reason"),
    [
        (("no-such-program",), "it can't be run", "No such file or directory"),
        (("sh", "-c", "echo oh no >&2; exit 3"), "exit code 3", "oh no"),
        (("sh", "-c", "echo fine"), "no verdict", "it is to print one JSON object"),
        (("sh", "-c", 'echo \'{"passed": "yes"}\''), "no verdict", "it is to print one JSON object"),
        (("sh", "-c", "echo '[true]'"), "no verdict", "it is to print one JSON object"),
    ],
)
def test_a_check_that_breaks_refuses(decided: Decided, words: tuple[str, ...], found: str, reason: str) -> None:
    (verdict,) = decided("better", command(*words))
    assert (verdict.passed, verdict.found) == (False, found)
    assert reason in verdict.reason


def test_a_check_that_takes_too_long_is_ended_with_all_it_started(decided: Decided, tmp_path: Path) -> None:
    begun = time.monotonic()
    script = "(sleep 3; echo late > late.txt) & sleep 60"
    (verdict,) = decided("better", command("sh", "-c", script, seconds=1))
    assert time.monotonic() - begun < 30
    assert (verdict.passed, verdict.reason) == (False, "it took more than 1 s")
    time.sleep(3)
    assert not (tmp_path / "late.txt").exists()


def test_nothing_is_run_where_another_gate_refuses(decided: Decided, tmp_path: Path) -> None:
    low = {"gate": "metric", "metric": "roc_auc", "at_least": 0.99}
    found = decided("better", command("sh", "-c", "touch ran"), {"gate": "loads"}, low)
    assert [(each.gate, each.passed, each.found) for each in found] == [
        ("metric", False, "0.84"),
        ("check", False, "not run"),
        ("loads", False, "not run"),
    ]
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_model_loads_and_predicts_in_a_clean_process(decided: Decided) -> None:
    (verdict,) = decided("better", {"gate": "loads", "seconds": 120})
    assert verdict.passed, verdict
    assert "3 rows" in verdict.found


def write(dev: Server, trained: Trained, path: str, content: bytes) -> None:
    """Replace a file of the better week's model."""
    api = Api(dev.url)
    head = api.get(f"logged-models/{trained.made['better']['model_id']}")["model"]
    upload(api, head["info"]["artifact_uri"], path, content)
    api.close()


def test_a_model_whose_bytes_are_broken_does_not_load(decided: Decided, dev: Server, trained: Trained) -> None:
    api = Api(dev.url)
    model_id = trained.made["better"]["model_id"]
    listed = api.get(f"logged-models/{model_id}/artifacts/directories")["files"]
    api.close()
    (found,) = [file["path"] for file in listed if file["path"].startswith("model.")]
    write(dev, trained, found, b"broken")
    (verdict,) = decided("better", {"gate": "loads", "seconds": 120})
    assert (verdict.passed, verdict.found) == (False, "it failed")
    assert verdict.reason


def test_a_models_code_sees_no_credentials(
    decided: Decided, dev: Server, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "geheim")
    monkeypatch.setenv("DATABRICKS_TOKEN", "geheim")
    # A model that is Python code, which says in its error what it sees.
    write(
        dev, trained, "loader.py", b"import os\ndef _load_pyfunc(path):\n    raise SystemExit(repr(dict(os.environ)))\n"
    )
    write(
        dev,
        trained,
        "MLmodel",
        b"flavors:\n  python_function:\n    loader_module: loader\n    code: null\n    python_version: 3.11.0\n",
    )
    (verdict,) = decided("better", {"gate": "loads", "seconds": 120})
    assert not verdict.passed
    assert "geheim" not in verdict.reason


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_loads_in_a_virtual_environment_of_its_own(decided: Decided, dev: Server, trained: Trained) -> None:
    # What this model needs and no more: the whole of mlflow takes minutes to install.
    needed = ("mlflow-skinny", "scikit-learn", "skops", "pandas", "numpy")
    write(dev, trained, "requirements.txt", "".join(f"{name}=={version_of(name)}\n" for name in needed).encode())
    (verdict,) = decided("better", {"gate": "loads", "with_env": True, "seconds": 600})
    assert verdict.passed, verdict
    assert "3 rows" in verdict.found


def test_an_environment_that_cannot_be_made_refuses(decided: Decided, dev: Server, trained: Trained) -> None:
    write(dev, trained, "requirements.txt", b"./no-such-package.whl\n")
    (verdict,) = decided("better", {"gate": "loads", "with_env": True, "seconds": 120})
    assert (verdict.passed, verdict.found) == (False, "it failed")
    assert "no-such-package" in verdict.reason
