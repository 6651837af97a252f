"""The files for places that are no Databricks: what is in them, and that what they say really starts."""

import configparser
import contextlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from mlflow_migration.apps import config, elsewhere
from mlflow_migration.apps.render import Packages
from mlflow_migration.errors import UsageError
from tests import servers
from tests.apps.runtime import put_snapshot

VOLUME = "/Volumes/main/ml/app"
PACKAGES = Packages("3.17.2", ("mlflow-migration==0.1.0", "mlflow==3.17.2"))


def parsed(**values: Any) -> config.AppConfig:
    return config.parsed({"name": "trial", "volume": VOLUME, **values}, "here")


@pytest.mark.parametrize("target", sorted(elsewhere.TARGETS))
@pytest.mark.parametrize("backend", ["sqlite", "lakebase", "databricks"])
def test_no_file_for_elsewhere_holds_a_value_that_is_secret(target: str, backend: str) -> None:
    resource = {"name": "openai", "secret": {"scope": "s", "key": "k", "permission": "READ"}}
    environment = {"OPENAI_API_KEY": {"value_from": "openai"}}
    found = parsed(backend=backend, environment=environment, resources=[resource])
    files = elsewhere.render(target, found, PACKAGES)
    listed = [line for line in files["secrets.env.example"].decode().splitlines() if not line.startswith("#")]
    assert all(line.endswith("=") for line in listed)
    wanted = {"OPENAI_API_KEY=", "MLFLOW_CRYPTO_KEK_PASSPHRASE=", "DATABRICKS_CLIENT_SECRET="}
    assert wanted <= set(listed)
    assert ("PGHOST=" in listed) == (backend == "lakebase")
    others = b"".join(content for name, content in files.items() if name != "secrets.env.example")
    assert b"CLIENT_SECRET" not in others
    assert b"OPENAI_API_KEY" not in others


def test_an_image_runs_as_nobody_special_and_keeps_its_data_in_volumes() -> None:
    text = elsewhere.render("docker", parsed(volume="/srv/mlflow"), PACKAGES)["Dockerfile"].decode()
    steps = [line.partition(" ")[::2] for line in text.splitlines() if not line.startswith("#")]
    words = dict(steps)
    assert words["USER"] == "10001"
    assert yaml.safe_load(words["VOLUME"]) == ["/var/lib/mlflow-app", "/srv/mlflow"]
    assert "/health" in words["HEALTHCHECK"]
    names = [name for name, _ in steps]
    assert names.index("USER") > names.index("RUN")


def test_compose_has_the_volumes_the_image_names_and_time_to_end() -> None:
    files = elsewhere.render("compose", parsed(volume="/srv/mlflow", environment={"PRICE": "5$"}), PACKAGES)
    whole = yaml.safe_load(files["compose.yaml"])
    service = whole["services"]["mlflow"]
    assert {mount.split(":")[0] for mount in service["volumes"]} == set(whole["volumes"])
    assert {mount.split(":")[1] for mount in service["volumes"]} == {"/var/lib/mlflow-app", "/srv/mlflow"}
    assert service["environment"]["PRICE"] == "5$$"
    assert int(service["stop_grace_period"].rstrip("s")) > 12
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_kubernetes_never_has_two_writers_and_leaves_time_to_end() -> None:
    files = elsewhere.render("kubernetes", parsed(volume="/srv/mlflow"), PACKAGES)
    claim, deployment, service = yaml.safe_load_all(files["kubernetes.yaml"])
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 12
    assert pod["securityContext"]["runAsNonRoot"] is True
    container = pod["containers"][0]
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    assert {container[probe]["httpGet"]["path"] for probe in probes} == {"/health"}
    assert container["envFrom"] == [{"secretRef": {"name": "trial"}}]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/var/lib/mlflow-app", "/srv/mlflow"}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert all(isinstance(each["value"], str) for each in container["env"])


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze, which this machine doesn't have")
    files = elsewhere.render("systemd", parsed(volume="/srv/mlflow"), PACKAGES)
    # The program has to be there; everything else is checked as it is.
    text = files["trial.service"].decode().replace("/opt/mlflow-app/venv/bin/python", sys.executable)
    (tmp_path / "trial.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "trial.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "trial.service" in line]
    assert said == []


def test_a_value_of_several_lines_makes_no_instruction_of_an_image() -> None:
    told = parsed(environment={"MOTTO": "one\nRUN rm -rf /"})
    with pytest.raises(UsageError, match="MOTTO"):
        elsewhere.render("docker", told, PACKAGES)
    compose = yaml.safe_load(elsewhere.render("compose", told, PACKAGES)["compose.yaml"])
    assert compose["services"]["mlflow"]["environment"]["MOTTO"] == "one\nRUN rm -rf /"


def test_a_folder_with_a_space_is_one_folder_of_the_unit() -> None:
    unit = elsewhere.render("systemd", parsed(volume="/srv/our data%"), PACKAGES)["trial.service"].decode()
    assert 'ReadWritePaths="/srv/our data%%"\n' in unit


def test_a_unit_leaves_the_ending_to_the_runtime() -> None:
    text = elsewhere.render("systemd", parsed(), PACKAGES)["trial.service"].decode()
    unit = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    unit.read_string(text)
    assert unit["Service"]["killmode"] == "mixed"
    assert int(unit["Service"]["timeoutstopsec"]) > 12


def by_systemd(files: Mapping[str, bytes]) -> tuple[list[str], dict[str, str]]:
    """Words and environment as systemd takes them from the unit and the environment file."""
    unit = files["trial.service"].decode().splitlines()
    words = next(line.removeprefix("ExecStart=") for line in unit if line.startswith("ExecStart="))
    lines = [shlex.split(line)[0] for line in files["app.env"].decode().splitlines()]
    return shlex.split(words), dict(line.split("=", 1) for line in lines)


def by_docker(files: Mapping[str, bytes]) -> tuple[list[str], dict[str, str]]:
    """Words and environment as the image has them."""
    steps = [line.partition(" ")[::2] for line in files["Dockerfile"].decode().splitlines()]
    env = [shlex.split(rest)[0].split("=", 1) for name, rest in steps if name == "ENV"]
    return json.loads(dict(steps)["CMD"]), dict(env)


def by_kubernetes(files: Mapping[str, bytes]) -> tuple[list[str], dict[str, str]]:
    """Words of the image, environment of the pod."""
    documents = list(yaml.safe_load_all(files["kubernetes.yaml"]))
    container = documents[1]["spec"]["template"]["spec"]["containers"][0]
    return by_docker(files)[0], {each["name"]: each["value"] for each in container["env"]}


READERS = {"systemd": by_systemd, "docker": by_docker, "kubernetes": by_kubernetes}


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("systemd"),
        # The same start with variables of another file.
        pytest.param("docker", marks=pytest.mark.slow),
        pytest.param("kubernetes", marks=pytest.mark.slow),
    ],
)
def test_what_the_files_say_starts_an_app_that_ends_in_time(tmp_path: Path, template: Path, target: str) -> None:
    """Started as the target would, but for the interpreter, the port and the state folder, which are this test's."""
    volume, state, port = tmp_path / "volume", tmp_path / "state", servers.free_port()
    put_snapshot(volume, template)
    words, env = READERS[target](elsewhere.render(target, parsed(volume=str(volume)), PACKAGES))
    env |= {"MLFLOW_APP_STATE_DIR": str(state), "DATABRICKS_APP_PORT": str(port)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words[1:]],
            cwd=tmp_path,
            env=servers.clean_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        deadline, code = time.monotonic() + 120, 0
        while code != 200:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
            with contextlib.suppress(requests.RequestException):
                code = requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code
        if target == "docker":
            assert subprocess.run(health_check(port), check=False).returncode == 0
        found = requests.post(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, timeout=10
        )
        assert found.status_code == 200, found.text
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
        assert time.monotonic() - began < 12
    finally:
        if process.poll() is None:
            process.kill()


def health_check(port: int) -> list[str]:
    """What the image asks whether it is well, of this port."""
    text = elsewhere.render("docker", parsed(), PACKAGES)["Dockerfile"].decode()
    step = next(line for line in text.splitlines() if line.startswith("HEALTHCHECK"))
    words: list[str] = json.loads(step.partition(" CMD ")[2])
    return [sys.executable, *(word.replace(":8000/", f":{port}/") for word in words[1:])]


def test_the_health_check_of_the_image_fails_where_nothing_answers() -> None:
    assert subprocess.run(health_check(servers.free_port()), check=False, capture_output=True).returncode != 0


def test_the_compose_file_is_one_by_its_schema(tmp_path: Path) -> None:
    files = elsewhere.render("compose", parsed(volume="/srv/mlflow"), PACKAGES)
    (tmp_path / "compose.yaml").write_bytes(files["compose.yaml"])
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, str(tmp_path / "compose.yaml")], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
