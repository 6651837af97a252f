"""What a user of Databricks has on a machine: `.databrickscfg`, and the commands `databricks` and `az`, logged in."""

import configparser
import sys
from collections.abc import Mapping
from pathlib import Path


def write(path: Path, hosts: Mapping[str, str], token: str) -> Path:
    """A configuration file with a personal-access-token profile for each name; readable by its owner only."""
    return write_sections(path, {name: {"host": url, "token": token} for name, url in hosts.items()})


def write_sections(path: Path, sections: Mapping[str, Mapping[str, str]]) -> Path:
    """A configuration file with these profiles."""
    parser = configparser.ConfigParser()
    parser.read_dict(sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("w") as file:
        parser.write(file)
    return path


COMMAND = """
import datetime, json, sys, urllib.parse, urllib.request
HOST, REFRESH_TOKEN = {host!r}, {token!r}
if sys.argv[1:2] == ["version"]:
    print(json.dumps({{"Version": "0.300.0", "Major": 0, "Minor": 300, "Patch": 0}}))
    sys.exit(0)
if sys.argv[1:3] == ["account", "show"]:
    print(json.dumps({{"user": {{"type": "user"}}}}))
    sys.exit(0)
if sys.argv[1:3] not in (["auth", "token"], ["account", "get-access-token"]):
    sys.exit(f"unknown command {{sys.argv[1:]}}")
form = urllib.parse.urlencode({{"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}}).encode()
with urllib.request.urlopen(HOST + "/oidc/v1/token", form) as answer:
    token = json.load(answer)
ends = datetime.datetime.now() + datetime.timedelta(seconds=token["expires_in"])
shown = ends.isoformat(timespec="seconds")
names = {{"access_token": token["access_token"], "accessToken": token["access_token"]}}
print(json.dumps({{**names, "token_type": "Bearer", "tokenType": "Bearer", "expiry": shown, "expiresOn": shown}}))
"""
# The SDK takes a smaller `databricks` for the old command of that name.
COMMAND_BYTES = 1024**2


def write_commands(folder: Path, host: str, refresh_token: str) -> Path:
    """`databricks` and `az` in a folder to be put first on PATH; each asks the workspace for a new access token."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"#!{sys.executable}\n{COMMAND.format(host=host, token=refresh_token)}"
    for name in ("databricks", "az"):
        file = folder / name
        file.touch(mode=0o700)
        file.write_text(text + "#" * COMMAND_BYTES + "\n")
    return folder


AUTHORITY = """
from databricks.sdk import environments
for one in environments.ENVIRONMENTS.values():
    one.active_directory_endpoint = {host!r} + "/aad/"
azure = [one for one in environments.ALL_ENVS if one.dns_zone == ".azuredatabricks.net"]
environments.DEFAULT_ENVIRONMENT = azure[0]
"""


def write_azure_authority(folder: Path, host: str) -> Path:
    """A folder for PYTHONPATH that makes a new interpreter's databricks-sdk ask the emulator in place of Microsoft.

    The SDK has no setting for that: its addresses are constants, and it knows Azure by the host's name alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(AUTHORITY.format(host=host))
    return folder
