"""Commands that look at one server: what is there, where, one call, and the signatures of models."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import rest, servers
from tests.conftest import Run, ServerFactory
from tests.faults.proxy import Proxy, on, status
from tests.fidelity.test_registry import QUOTES, seed
from tests.rest import Api, Json
from tests.servers import Options, Server

WINE = "wine é 'q' x.y"
SAMPLES = "age,height,name,member,note,score,gap\n1,2,ann,True,,1e3,4\n-5,2.5,bob,False,x,inf,\n7,NaN,é,True,,-1,6\n"
PREDICTIONS = "prediction\n0\n1\n1\n"
COLUMNS = [
    {"type": "long", "name": "age", "required": True},
    {"type": "double", "name": "height", "required": False},
    {"type": "string", "name": "name", "required": True},
    {"type": "boolean", "name": "member", "required": True},
    {"type": "string", "name": "note", "required": False},
    {"type": "double", "name": "score", "required": True},
    {"type": "double", "name": "gap", "required": False},
]
SIGNATURE = {
    "inputs": COLUMNS,
    "outputs": [{"type": "long", "name": "prediction", "required": True}],
    "params": None,
}


def at(server: Server) -> tuple[str, str]:
    return ("--tracking-uri", server.url)


def a_run(api: Api, **fields: Any) -> Json:
    """A new run's info."""
    experiment = api.post("experiments/create", name="of models")["experiment_id"]
    info: Json = api.post("runs/create", experiment_id=experiment, start_time=1, **fields)["run"]["info"]
    return info


def mlmodel(signature: Json | None = None) -> bytes:
    """An MLmodel file as MLflow writes it."""
    value: Json = {"artifact_path": "model", "flavors": {"python_function": {"data": "x"}}, "mlflow_version": "3.17.2"}
    if signature:
        value["signature"] = {part: json.dumps(columns) if columns else None for part, columns in signature.items()}
    return yaml.safe_dump(value).encode()


def test_registered_models_are_listed_with_versions_stages_and_aliases_also_from_a_bundle(
    empty_source: Server, run_here: Run, tmp_path: Path
) -> None:
    seed(empty_source)
    document = run_here("list-registered-models", *at(empty_source), "--json").expect(0).json
    models = {model["name"]: model for model in document["registered_models"]}
    assert set(models) == {WINE, QUOTES, "a copy"}
    seen = [(each["version"], each["stage"], each["aliases"]) for each in models[WINE]["versions"]]
    assert seen == [
        ("2", "Production", ["old"]),
        ("5", "Production", ["also_5", "champion"]),
        ("6", "Archived", []),
        ("7", "None", []),
        ("8", "None", []),
    ]
    assert models[WINE]["aliases"] == {"champion": "5", "old": "2", "also_5": "5"}
    table = run_here("list-registered-models", *at(empty_source)).expect(0).stdout.splitlines()
    assert table[0].split() == ["model", "version", "stage", "aliases", "run", "id"]
    assert len(table) == 1 + 5 + 1 + 1
    assert any(line.split()[-4:-1] == ["Production", "also_5,", "champion"] for line in table)
    run_here("export-all", *at(empty_source), "--output-dir", tmp_path / "all").expect(0)
    again = run_here("list-registered-models", "--tracking-uri", tmp_path / "all", "--json").expect(0).json
    assert again["registered_models"] == document["registered_models"]


def test_artifacts_are_found_by_name_glob_folder_and_depth(empty_source: Server, run_here: Run) -> None:
    api = Api(empty_source.url)
    info = a_run(api)
    for path in ("MLmodel", "a/MLmodel", "a/b/MLmodel", "a/b/c é.png", "b/x.png"):
        rest.upload(api, info["artifact_uri"], path, b"1")

    def found(*options: str) -> list[str]:
        words = ("find-artifacts", *at(empty_source), "--run-id", info["run_id"], *options)
        matches: list[str] = run_here(*words, "--json").expect(0).json["matches"]
        return sorted(matches)

    assert found("--target", "MLmodel") == ["MLmodel", "a/MLmodel", "a/b/MLmodel"]
    assert found("--target", "MLmodel", "--max-level", "2") == ["MLmodel", "a/MLmodel"]
    assert found("--target", "MLmodel", "--path", "a/") == ["a/MLmodel", "a/b/MLmodel"]
    assert found("--target", "*.png") == ["a/b/c é.png", "b/x.png"]
    assert found("--target", "b") == ["a/b/", "b/"]
    assert found("--target", "nothing") == []
    plain = run_here("find-artifacts", *at(empty_source), "--run-id", info["run_id"], "--target", "x.png").expect(0)
    assert plain.stdout == "b/x.png\n"
    gone = run_here("find-artifacts", *at(empty_source), "--run-id", "f" * 32, "--target", "x").expect(1)
    assert "no such run" in gone.stderr


def test_one_call_of_the_rest_api(empty_source: Server, run_here: Run, tmp_path: Path) -> None:
    call = ("http-client", *at(empty_source), "--resource")
    made = run_here(*call, "experiments/create", "--data", '{"name": "made é"}').expect(0)
    id_ = json.loads(made.stdout)["experiment_id"]
    out = tmp_path / "answer.json"
    shown = run_here(*call, "experiments/get", "--params", json.dumps({"experiment_id": id_}), "--output-file", out)
    assert json.loads(shown.expect(0).stdout)["experiment"]["name"] == "made é"
    assert json.loads(out.read_text("utf-8")) == json.loads(shown.stdout)
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"experiment_id": id_, "new_name": "renamed"}))
    for data in (f"@{body}", str(body)):
        run_here(*call, "experiments/update", "--method", "post", "--data", data).expect(0)
    document = run_here(*call, "/api/2.0/mlflow/experiments/search", "--data", '{"max_results": 9}', "--json").expect(0)
    names = [found["name"] for found in document.json["answer"]["experiments"]]
    assert sorted(names) == ["Default", "renamed"]


def test_a_call_that_fails_says_why(empty_source: Server, run_here: Run) -> None:
    for words, code, message in (
        (("--resource", "experiments/create", "--data", '{"name": "Default"}'), 1, "already exists"),
        (("--resource", "nothing/here"), 1, "no such route"),
        (("--resource", "clusters/list", "--api", "databricks"), 2, "no Databricks workspace"),
        (("--resource", "experiments/create", "--data", "[1]"), 2, "--data"),
        (("--resource", "experiments/create", "--data", '{"name"'), 2, "--data is no JSON"),
        (("--resource", "experiments/get", "--method", "GET", "--data", "{}"), 2, "a GET has no body"),
        (("--resource", "experiments/get", "--output-file", "no/such/folder"), 2, "can't write"),
    ):
        assert message in run_here("http-client", *at(empty_source), *words).expect(code).stderr, words


def test_only_a_call_that_reads_is_repeated(empty_source: Server, run_here: Run) -> None:
    with Proxy(empty_source.url) as proxy:
        proxy.add(status(503), on("GET", "experiments/get"))
        proxy.add(status(503), on("POST", "experiments/create"))
        call = ("http-client", "--tracking-uri", proxy.url, "--resource")
        run_here(*call, "experiments/get", "--params", '{"experiment_id": "0"}').expect(0)
        assert "answered 503" in run_here(*call, "experiments/create", "--data", '{"name": "once"}').expect(1).stderr
        assert (proxy.count("GET", "experiments/get"), proxy.count("POST", "experiments/create")) == (2, 1)


def test_a_signature_is_set_from_samples_as_mlflow_infers_it_and_all_else_stays(
    empty_source: Server, run_here: Run, tmp_path: Path
) -> None:
    from mlflow.models import Model, infer_signature

    read_csv = pytest.importorskip("pandas").read_csv
    api = Api(empty_source.url)
    info = a_run(api)
    rest.upload(api, info["artifact_uri"], "models/one/MLmodel", mlmodel())
    uri = ("--model-uri", f"runs:/{info['run_id']}/models/one")
    inputs, outputs = tmp_path / "in.csv", tmp_path / "out.csv"
    inputs.write_text(SAMPLES, "utf-8")
    outputs.write_text(PREDICTIONS, "utf-8")
    samples = ("--input-file", inputs, "--output-file", outputs)
    assert "has no signature" in run_here("get-model-signature", *at(empty_source), *uri).expect(1).stderr
    document = run_here("set-model-signature", *at(empty_source), *uri, *samples, "--json").expect(0).json
    assert (document["state"], document["signature"]) == ("done", SIGNATURE)
    stored = rest.download(api, info["artifact_uri"], "models/one/MLmodel")
    inferred = infer_signature(read_csv(inputs), read_csv(outputs))
    assert Model.from_dict(yaml.safe_load(stored)).signature == inferred
    assert {**yaml.safe_load(mlmodel()), "signature": inferred.to_dict()} == yaml.safe_load(stored)
    kept = tmp_path / "signature.json"
    shown = run_here("get-model-signature", *at(empty_source), *uri, "--output-file", kept).expect(0)
    assert json.loads(shown.stdout) == json.loads(kept.read_text("utf-8")) == SIGNATURE

    same = run_here("set-model-signature", *at(empty_source), *uri, "--input-file", kept, "--json").expect(0).json
    assert same["state"] == "same"
    other = run_here("set-model-signature", *at(empty_source), *uri, "--input-file", inputs).expect(1)
    assert "--overwrite-signature" in other.stderr
    assert rest.download(api, info["artifact_uri"], "models/one/MLmodel") == stored
    words = ("--input-file", inputs, "--overwrite-signature", "True", "--json")
    assert run_here("set-model-signature", *at(empty_source), *uri, *words).expect(0).json["state"] == "updated"
    assert run_here("get-model-signature", *at(empty_source), *uri, "--json").json["signature"]["outputs"] is None


@pytest.fixture(params=["proxied", "not proxied"])
def server(request: pytest.FixtureRequest, template: Path, make_server: ServerFactory) -> Server:
    """An empty server that serves artifacts itself, and one that doesn't."""
    if request.param == "proxied":
        found: Server = request.getfixturevalue("empty_source")
        return found
    return make_server(Options(template=template, serve_artifacts=False))


def test_every_form_of_a_models_address_leads_to_its_signature(server: Server, run_here: Run, tmp_path: Path) -> None:
    api = Api(server.url)
    info = a_run(api)
    proxied = info["artifact_uri"].startswith("mlflow-artifacts:")
    one, two = ({**SIGNATURE, "outputs": [{"type": "long", "name": name, "required": True}]} for name in ("one", "two"))
    put(server, info["artifact_uri"], "model/MLmodel", mlmodel(one))
    body = {"experiment_id": info["experiment_id"], "name": "logged", "source_run_id": info["run_id"]}
    logged = api.post("logged-models", **body)["model"]["info"]
    put(server, logged["artifact_uri"], "MLmodel", mlmodel(two))
    api.post("registered-models/create", name="wine")
    sources: list[Json] = [
        {"source": info["artifact_uri"] + "/model", "run_id": info["run_id"]},
        {"source": f"runs:/{info['run_id']}/model", "run_id": info["run_id"]},
        {"source": f"models:/{logged['model_id']}", "model_id": logged["model_id"]},
    ]
    for source in sources:
        api.post("model-versions/create", name="wine", **source)
    api.post("registered-models/alias", name="wine", alias="old", version="1")
    stage = {"stage": "Production", "archive_existing_versions": False}
    api.post("model-versions/transition-stage", name="wine", version="2", **stage)
    expected = {
        "models:/wine/1": one,
        "models:/wine@old": one,
        "models:/wine/2": one,
        "models:/wine/production": one,
        "models:/wine/3": two,
        "models:/wine/latest": two,
        f"models:/{logged['model_id']}": two,
        f"runs:/{info['run_id']}/model": one,
        f"runs:/{info['run_id']}/logged": two,
    }
    for uri, signature in expected.items():
        shown = run_here("get-model-signature", *at(server), "--model-uri", uri, "--json").expect(0).json
        assert shown["signature"] == signature, uri
    three = tmp_path / "three.json"
    three.write_text(json.dumps({"inputs": one["inputs"]}))
    words = ("--input-file", three, "--overwrite-signature")
    if not proxied:
        refused = run_here("set-model-signature", *at(server), "--model-uri", "models:/wine/1", *words).expect(2)
        assert "can't be written over the server" in refused.stderr
        assert "runs:/id/path" in refused.stderr
    written = ["models:/wine/3", f"runs:/{info['run_id']}/model"] if proxied else [f"runs:/{info['run_id']}/model"]
    for uri in written:
        run_here("set-model-signature", *at(server), "--model-uri", uri, *words).expect(0)
    for uri in ("models:/wine/1", *written):
        shown = run_here("get-model-signature", *at(server), "--model-uri", uri, "--json").expect(0).json
        assert shown["signature"] == {"inputs": one["inputs"], "outputs": None, "params": None}, uri


def put(server: Server, artifact_uri: str, path: str, content: bytes) -> None:
    """Put an artifact into the server's own folder."""
    from tests.seeding import artifact_folder

    target = artifact_folder(server, artifact_uri) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def test_a_model_that_is_not_there_is_said(registry: Server, run_here: Run) -> None:
    for uri, code, message in (
        ("models:/nobody/1", 1, "no such model"),
        ("models:/nobody@champion", 1, "no such model"),
        (f"models:/{WINE}@champion/2", 1, "no such model"),
        ("models:/m-" + "0" * 32, 1, "no such model"),
        ("runs:/" + "0" * 32 + "/model", 1, "no such run"),
        ("s3://bucket/model", 2, "not a model's address"),
        ("models:/", 2, "not a model's address"),
        ("models:/greet/1", 1, "is a prompt"),
    ):
        outcome = run_here("get-model-signature", *at(registry), "--model-uri", uri).expect(code)
        assert message in outcome.stderr, uri


def test_a_broken_mlmodel_is_said_and_never_run(empty_source: Server, run_here: Run, tmp_path: Path) -> None:
    api = Api(empty_source.url)
    info = a_run(api)
    ran = tmp_path / "ran"
    texts = ["a: [", "- 1", "signature: 1", "signature: {inputs: 1}", "\0", "[" * 5000]
    for text in (*texts, f"!!python/object/apply:os.system ['touch {ran}']"):
        rest.upload(api, info["artifact_uri"], "model/MLmodel", text.encode())
        uri = f"runs:/{info['run_id']}/model"
        outcome = run_here("get-model-signature", *at(empty_source), "--model-uri", uri).expect(1)
        assert "is broken" in outcome.stderr, text
    assert not ran.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", ""),
        ("a.csv", "a,b\n"),
        ("a.csv", "a,b\n1\n"),
        ("a.csv", "a,a\n1,2\n"),
        ("a.json", "{}"),
        ("a.json", '{"inputs": "x"}'),
        ("a.json", '{"inputs": [1]}'),
        ("a.json", '{"other": []}'),
    ],
)
def test_bad_samples_are_refused_before_anything_is_asked(run_here: Run, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    nowhere = ("--tracking-uri", "http://127.0.0.1:9", "--model-uri", "models:/a/1")
    run_here("set-model-signature", *nowhere, "--input-file", tmp_path / name).expect(2)


@pytest.fixture
def registry(empty_source: Server) -> Server:
    """A server with models and prompts."""
    seed(empty_source)
    return empty_source


def test_versions_without_signatures_are_listed(registry: Server, run_here: Run, tmp_path: Path) -> None:
    api = Api(registry.url)
    info = a_run(api)
    rest.upload(api, info["artifact_uri"], "model/MLmodel", mlmodel(SIGNATURE))
    api.post("registered-models/create", name="signed")
    api.post("model-versions/create", name="signed", source=info["artifact_uri"] + "/model", run_id=info["run_id"])
    out = tmp_path / "versions.csv"
    listing = "list-model-versions-without-signatures"
    signed = run_here(listing, *at(registry), "--filter", "name = 'signed'", "--json").expect(0).json
    assert (signed["versions"], signed["without_signature"]) == (1, [])
    words = ("--filter", "name LIKE 'wine%'", "--output-file", out, "--use-get-model-info", "False", "--json")
    document = run_here(listing, *at(registry), *words).expect(1).json
    rows = {row["version"]: row for row in document["without_signature"]}
    assert list(rows) == ["8", "7", "6", "5", "2"]
    assert [rows[number]["error"] for number in ("2", "5", "6")] == ["", "", ""]
    # Two lie in a store that nobody here can reach.
    assert document["failed"] == 2
    assert all("answered 500" in rows[number]["error"] for number in ("7", "8"))
    assert list(csv.DictReader(io.StringIO(out.read_text("utf-8")))) == document["without_signature"]
    run_id = servers.select(registry, "SELECT run_id FROM model_versions WHERE name = ? AND version = 2", WINE)[0][0]
    assert rows["2"] == {"model": WINE, "version": "2", "run_id": run_id, "error": ""}
    refused = run_here(listing, *at(registry), "--filter", "nonsense ~ 3").expect(2)
    assert "not a filter" in refused.stderr
