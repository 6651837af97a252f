"""Addresses of pages in MLflow's own user interface, as its router has them (3.17.2, `server/js`)."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def _page(address: str, *parts: str) -> str:
    """The page below `#/`; "" for a place that no browser opens."""
    base, _, workspace = address.partition("#")
    if not base.startswith(("http://", "https://")):
        return ""
    query = f"?{urlencode({'workspace': workspace})}" if workspace else ""
    return f"{base.rstrip('/')}/#/{'/'.join(quote(part, safe='') for part in parts)}{query}"


def experiment(address: str, experiment_id: str) -> str:
    """An experiment's page."""
    return _page(address, "experiments", experiment_id)


def run(address: str, experiment_id: str, run_id: str) -> str:
    """A run's page."""
    return _page(address, "experiments", experiment_id, "runs", run_id)


def logged_model(address: str, experiment_id: str, model_id: str) -> str:
    """A logged model's page."""
    return _page(address, "experiments", experiment_id, "models", model_id)


def traces(address: str, experiment_id: str) -> str:
    """The list of an experiment's traces."""
    return _page(address, "experiments", experiment_id, "traces")


def model(address: str, name: str) -> str:
    """A registered model's page."""
    return _page(address, "models", name)


def version(address: str, name: str, number: str) -> str:
    """The page of a model's version."""
    return _page(address, "models", name, "versions", number)


def prompt(address: str, name: str) -> str:
    """A prompt's page."""
    return _page(address, "prompts", name)


def users(address: str) -> str:
    """The page where an administrator sees users and roles."""
    return _page(address, "admin")
