"""All the way round: an open-source server, two workspaces with metastores of their own, an open-source server."""

import contextlib
from pathlib import Path

import pytest

from tests import databases, seeding, traces
from tests.conftest import Tool
from tests.databricks import catalogue
from tests.databricks.clients import environment, mlflow_script
from tests.databricks.registry_samples import catalog, loads, make_churn, own, plain, tags, users
from tests.databricks.state import Account
from tests.databricks.test_place import forget_foreign_traces, name_roots
from tests.rest import Api
from tests.servers import Server

UC_A, UC_B = "databricks-uc://a", "databricks-uc://b"
PROMPTS = """
for text in ("Hello {{name}}", "Good day {{name}}"):
    mlflow.genai.register_prompt("greet", text, commit_message=f"say {text}", tags={"tone": "polite"})
mlflow.genai.set_prompt_alias("greet", alias="current", version=1)
result = True
"""
SAID = """
result = [mlflow.genai.load_prompt(f"prompts:/greet{which}").template for which in ("/1", "/2", "@current")]
"""
STAGES = ("--stages-to-aliases", "Production=champion,Staging=challenger")
RENAMED = {"churn": "main.ml.churn", "greet": "main.ml.greet"}


def _renaming(folder: Path, pairs: dict[str, str]) -> Path:
    path = folder / f"names {'-'.join(pairs)}.csv"
    path.write_text("old,new\n" + "".join(f"{old},{new}\n" for old, new in pairs.items()))
    return path


@pytest.mark.slow
def test_nothing_a_person_set_is_lost_from_open_source_through_two_metastores_and_back(
    empty_source: Server, destination: Server, account: Account, in_catalog: Tool, tmp_path: Path
) -> None:
    seeding.seed_small(empty_source)
    make_churn(empty_source, tmp_path)
    with contextlib.closing(Api(empty_source.url)) as api:
        traces.seed(api)
    forget_foreign_traces(empty_source)
    mlflow_script(PROMPTS, own(empty_source.url))
    first, second = account.workspace("a", metastore="m1"), account.workspace("b", metastore="m2")
    for workspace in (first, second):
        catalogue.make(workspace.metastore, "main.ml")
    there, back = (
        ("--model-rename-file", str(_renaming(tmp_path, pairs)))
        for pairs in (RENAMED, {new: old for old, new in RENAMED.items()})
    )

    def hop(source: str, target: str, *options: str) -> None:
        words = ("copy-all", "--src-mlflow-uri", source, "--dst-mlflow-uri", target, "--json", *options)
        # A trace's tie to a prompt version is kept beside it: the platform has no route for it.
        outcome = in_catalog(*words, "--allow-loss", "link").expect(0).json
        told = {(row["kind"], row["state"]) for row in outcome["rows"]}
        # Permissions are left where they are unless --permissions asks for them.
        assert told <= {("link", "unsupported"), ("access_list", "skipped")}, outcome["rows"]
        again = in_catalog(*words, "--allow-loss", "link").expect(0).json
        assert {kind: counts for kind, counts in again["kinds"].items() if counts["done"] or counts["updated"]} == {}

    hop(empty_source.url, UC_A, *there, *STAGES)
    hop(UC_A, UC_B)
    hop(UC_B, destination.url, *back)

    # Runs with their histories, files, logged models and traces: row by row in the databases.
    name_roots(destination)
    assert databases.compare(empty_source, destination) == []
    assert traces.compare(empty_source, destination) == []
    # Models: numbers, stages, aliases, tags, signatures, and what says where they came from.
    versions = {each["version"]: each for each in plain(destination, "model-versions/search")["model_versions"]}
    assert sorted(versions) == ["1", "2", "4"]
    assert [versions[number]["current_stage"] for number in ("1", "2", "4")] == ["Staging", "Production", "None"]
    assert users(versions["2"]) == {"checked": "yes", "data.set": "2024-05"}
    assert tags(versions["2"])["mlflow_migration.model_version"] == "churn/2"
    model = plain(destination, "registered-models/get", name="churn")["registered_model"]
    assert users(model) == {"team": "growth", "mlflow.owner": " ann "}
    assert tags(model)["mlflow_migration.source"] == empty_source.url
    aliases = {each["alias"]: each["version"] for each in model["aliases"]}
    assert aliases == {"best": "2", "champion": "2", "challenger": "1"}
    for uri, env in (
        ("models:/churn@best", own(destination.url)),
        ("models:/main.ml.churn@best", environment(first)),
        ("models:/main.ml.churn@champion", environment(second)),
    ):
        assert loads(uri, env) == [3.0, True]
    middle = catalog(second, "model-versions/get", name="main.ml.churn", version="2")["model_version"]
    assert tags(middle)["mlflow_migration_model_version"] == "churn/2"
    assert mlflow_script(SAID, own(destination.url)) == ["Hello {{name}}", "Good day {{name}}", "Hello {{name}}"]

    # The tool's own proof says the same. What stages were made to is there besides.
    compared = in_catalog("verify", empty_source.url, destination.url, "--json").json
    lost = [row for row in compared["differences"] if row["left"] != "absent"]
    assert lost == []
    assert {row["field"] for row in compared["differences"]} == {"aliases.champion", "aliases.challenger"}
