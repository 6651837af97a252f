"""One server with objects of every kind: the seeds of all tests together."""

import contextlib
from types import ModuleType

from tests import seeding, servers, traces
from tests.fidelity import (
    test_evaluation_dataset,
    test_gateway,
    test_issue,
    test_logged_models,
    test_mcp_server,
    test_registry,
    test_review,
    test_scorer,
    test_webhook,
)
from tests.rest import Api
from tests.servers import Server


def seed(server: Server) -> None:
    """Fill an empty server."""
    seeding.seed_small(server)
    api = Api(server.url)
    with contextlib.closing(api.session):
        traces.seed(api)
    for module in (
        test_logged_models,
        test_registry,
        test_evaluation_dataset,
        test_scorer,
        test_issue,
        test_review,
        test_gateway,
        test_mcp_server,
        test_webhook,
    ):
        # Several of them make experiments of the same names.
        servers.execute(
            server, "UPDATE experiments SET name = name || ' before ' || ? WHERE experiment_id != 0", _name(module)
        )
        module.seed(server)


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition("test_")[2]
