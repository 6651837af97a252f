"""Each gate on versions of a real server: what passes, and what is said of what doesn't."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_migration.promotion import facts
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.gates import DECIDES, decide
from mlflow_migration.promotion.policy import parsed, schema
from mlflow_migration.promotion.verdicts import Case, Verdict
from mlflow_migration.server.live import Server as Live
from tests import servers
from tests.conftest import ServerPool
from tests.promotion.conftest import Trained, set_tag
from tests.promotion.test_policy import WHOLE, rule
from tests.rest import Api, Json, upload
from tests.servers import Server


@pytest.fixture
def dev(trained: Trained, server_pool: ServerPool) -> Server:
    """The server that holds the ten weeks."""
    server = server_pool("source")
    servers.reset(server, trained.content)
    return server


Ask = Callable[..., Verdict]


@pytest.fixture
def ask(dev: Server, trained: Trained, connect: Callable[[Server], Live], tmp_path: Path) -> Ask:
    """What a gate says of a week's version, with another week's as the champion where one is named."""
    live = connect(dev)

    def asked(word: str, champion: str = "", **gate: object) -> Verdict:
        def holder(alias: str) -> Version | None:
            assert alias == "champion"
            return facts.version(live, "churn", trained[champion]) if champion else None

        version = facts.version(live, "churn", trained[word])
        case = Case(version, holder, "churn", "dev", "test", "champion", tmp_path)
        (verdict,) = decide(parsed({**WHOLE, **rule(**gate)}, "test").gates("churn", "prod"), case)
        return verdict

    return asked


def test_every_form_of_a_gate_is_decided_by_something() -> None:
    forms = json.loads(schema())["$defs"]
    assert {form.__name__ for form in DECIDES} == {name for name, form in forms.items() if "gate" in form["properties"]}


def test_a_metric_meets_its_thresholds_or_not(ask: Ask) -> None:
    assert ask("first", gate="metric", metric="roc_auc", at_least=0.8).passed
    low = ask("worse", gate="metric", metric="roc_auc", at_least=0.8)
    assert (low.passed, low.wanted, low.found, low.reason) == (False, ">= 0.8", "0.7", "0.7 is below 0.8")
    slow = ask("first", gate="metric", metric="latency_ms", at_most=3)
    assert (slow.passed, slow.reason) == (False, "4 is above 3")
    gone = ask("first", gate="metric", metric="f1", at_least=0)
    assert (gone.passed, gone.reason) == (False, "it has no metric 'f1' (any)")


def test_a_metric_that_is_no_number_meets_nothing(ask: Ask) -> None:
    for bound in ({"at_least": -1e300}, {"at_most": 1e300}):
        verdict = ask("bare", gate="metric", metric="roc_auc", **bound)
        assert (verdict.passed, verdict.found) == (False, "nan")


@pytest.mark.parametrize(("margin", "passed"), [(0.04, True), (0.041, False), (-0.05, True)])
def test_a_metric_beats_that_of_the_champion_by_a_margin(ask: Ask, margin: float, passed: bool) -> None:
    verdict = ask("better", "first", gate="metric", metric="roc_auc", than="champion", margin=margin)
    assert verdict.passed is passed
    assert "(champion has 0.8)" in verdict.wanted


def test_lower_can_be_better_and_without_a_champion_nothing_is_to_be_beaten(ask: Ask) -> None:
    lower = {"gate": "metric", "metric": "roc_auc", "than": "champion", "better": "lower", "margin": 0.01}
    assert ask("worse", "first", **lower).passed
    assert not ask("better", "first", **lower).passed
    assert ask("better", **lower).passed


def test_slices_may_get_worse_by_so_much_only(ask: Ask) -> None:
    slices = {"gate": "slices", "metrics": "recall_*"}
    assert ask("better", "first", **slices).passed
    assert ask("worse", "first", **slices, by_at_most=0.02).passed
    verdict = ask("worse", "first", **slices)
    assert verdict.reason == "recall_north falls from 0.8 to 0.79; recall_south falls from 0.8 to 0.78"
    assert not ask("first", "better", gate="slices", metrics="nothing_*").passed


def test_what_is_required_is_looked_for_everywhere_and_what_is_missing_is_named(ask: Ask) -> None:
    all_there = {
        "params": ["rows"],
        "metrics": ["roc_auc"],
        "tags": ["owner", "week"],
        "artifacts": ["report.txt", "*.pk*"],
    }
    assert ask("first", gate="required", **{**all_there, "artifacts": ["report.txt", "MLmodel"]}).passed
    verdict = ask("bare", gate="required", params=["rows", "depth"], tags=["owner"], artifacts=["*.html"])
    assert (verdict.found, verdict.reason) == ("1 of 4", "missing: param depth, tag owner, artifact *.html")


def test_a_tag_has_one_of_its_values(ask: Ask) -> None:
    wanted = {"gate": "tag_value", "tag": "risk", "one_of": ["low", "medium"]}
    assert ask("first", **wanted).passed
    assert ask("failed", **wanted).reason == "'high' is not among them"
    assert ask("bare", **wanted).reason == "tag 'risk' is missing"


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        ({"gate": "signature"}, "its MLmodel has no inputs and no outputs in a signature"),
        ({"gate": "input_example"}, "its MLmodel names none"),
        ({"gate": "data_documented"}, "the run logged no such dataset"),
        ({"gate": "flavour", "allowed": ["xgboost"]}, "sklearn is not allowed"),
    ],
)
def test_what_a_bare_model_lacks_is_said(ask: Ask, gate: Json, reason: str) -> None:
    verdict = ask("bare", **gate)
    assert (verdict.passed, verdict.reason) == (False, reason)


@pytest.mark.parametrize(
    "gate",
    [
        {"gate": "signature"},
        {"gate": "input_example"},
        {"gate": "data_documented", "context": "training"},
        {"gate": "flavour", "allowed": ["sklearn"]},
        {"gate": "pinned_requirements"},
        {"gate": "run_finished"},
        {"gate": "maximum_age", "days": 1},
        {"gate": "reproducible"},
        {"gate": "schema_compatible"},
    ],
)
def test_what_a_well_kept_model_has_passes(ask: Ask, gate: Json) -> None:
    verdict = ask("first", **gate)
    assert (verdict.passed, verdict.reason) == (True, "")


def test_a_run_that_failed_or_is_deleted_is_not_finished(ask: Ask, dev: Server, trained: Trained) -> None:
    assert ask("failed", gate="run_finished").found == "FAILED"
    api = Api(dev.url)
    api.post("runs/delete", run_id=trained.made["first"]["run_id"])
    api.close()
    assert ask("first", gate="run_finished").found == "deleted"


def test_a_version_grows_too_old(ask: Ask, dev: Server, trained: Trained) -> None:
    old = "UPDATE runs SET end_time = end_time - 40 * 86400000 WHERE run_uuid = ?"
    servers.execute(dev, old, trained.made["first"]["run_id"])
    verdict = ask("first", gate="maximum_age", days=30)
    assert (verdict.passed, verdict.found) == (False, "40.0 days")


def test_a_wider_input_breaks_callers_and_a_narrower_one_does_not(ask: Ask) -> None:
    verdict = ask("wide", "first", gate="schema_compatible")
    assert (verdict.passed, verdict.reason) == (False, "it requires the input contract, which callers don't send")
    assert ask("first", "wide", gate="schema_compatible").passed
    assert "has no inputs" in ask("bare", "first", gate="schema_compatible").reason


@pytest.mark.parametrize(
    ("line", "pinned"),
    [
        ("numpy==2.1.0", True),
        ("numpy===2.1.0", True),
        ("numpy==2.1.0 ; python_version > '3.9'", True),
        ("numpy[all]==2.1.0 --hash=sha256:0123", True),
        ("pkg @ https://example.com/pkg.whl#sha256=0123", True),
        ("pkg @ git+https://example.com/pkg.git@8f14e45", True),
        ("numpy", False),
        ("numpy>=2", False),
        ("numpy==2.*", False),
        ("numpy~=2.1", False),
        ("pkg @ git+https://example.com/pkg.git", False),
        ("pkg @ git+https://example.com/pkg.git@main", False),
        ("pkg @ git+https://example.com/pkg.git@v1.2", False),
        ("pkg @ https://example.com/pkg@8f14e45", False),
        ("-c constraints.txt\nnumpy==2.1.0", True),
        ("-r other.txt", False),
        ("./local.whl", False),
    ],
)
def test_a_requirement_is_pinned_or_not(ask: Ask, dev: Server, trained: Trained, line: str, pinned: bool) -> None:
    write(dev, trained, "requirements.txt", f"# made by hand\n--extra-index-url https://example.com\n{line}\n".encode())
    verdict = ask("first", gate="pinned_requirements")
    assert verdict.passed is pinned, verdict
    assert pinned or line in verdict.reason


def write(dev: Server, trained: Trained, path: str, content: bytes) -> None:
    """Replace a file of the first week's model."""
    api = Api(dev.url)
    head = api.get(f"logged-models/{trained.made['first']['model_id']}")["model"]
    upload(api, head["info"]["artifact_uri"], path, content)
    api.close()


def test_a_version_that_lacks_commit_params_or_environment_is_not_reproducible(ask: Ask) -> None:
    verdict = ask("first", gate="reproducible", commit_tag="my.commit")
    assert (verdict.passed, verdict.reason) == (False, "no commit (tag my.commit)")


def test_a_digest_follows_the_bytes_and_nothing_else(
    dev: Server, trained: Trained, connect: Callable[[Server], Live]
) -> None:
    live = connect(dev)
    before = facts.version(live, "churn", trained["first"]).digest
    assert before != facts.version(live, "churn", trained["better"]).digest
    set_tag(dev, trained["first"], "note", "something")
    assert facts.version(live, "churn", trained["first"]).digest == before
    write(dev, trained, "requirements.txt", b"numpy==1.0\n")
    assert facts.version(live, "churn", trained["first"]).digest != before


def test_a_version_of_a_runs_own_files_has_a_digest_too(
    dev: Server, trained: Trained, connect: Callable[[Server], Live]
) -> None:
    api = Api(dev.url)
    run_id = trained.made["first"]["run_id"]
    uri = api.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"]
    upload(api, uri, "old/MLmodel", f"run_id: {run_id}\n".encode())
    upload(api, uri, "old/model.bin", b"bytes")
    made = api.post("model-versions/create", name="churn", source=f"{uri}/old", run_id=run_id)["model_version"]
    again = api.post("model-versions/create", name="churn", source=f"runs:/{run_id}/old", run_id=run_id)[
        "model_version"
    ]
    copied = api.post("model-versions/create", name="churn", source=f"models:/churn/{made['version']}")["model_version"]
    api.close()
    live = connect(dev)
    found = [facts.version(live, "churn", str(each["version"])) for each in (made, again, copied)]
    assert [path for path, _ in found[0].sums] == ["MLmodel", "model.bin"]
    assert len({each.digest for each in found}) == 1
