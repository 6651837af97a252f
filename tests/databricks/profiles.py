"""Files a user of Databricks has at home: `.databrickscfg`, and a `databricks` command for `databricks-cli` auth."""

import configparser
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
