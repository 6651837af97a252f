"""The scene of a model on two servers, made once for each module."""

from pathlib import Path

import pytest

from tests import servers
from tests.conftest import ServerPool, Tool
from tests.governance import scene
from tests.governance.scene import Scene, Trained
from tests.servers import Snapshot


@pytest.fixture(scope="session")
def copied(
    template: Path, server_pool: ServerPool, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Snapshot, Snapshot, Trained]:
    """The scene, made once for all tests."""
    dev, prod = server_pool("source"), server_pool("destination")
    for server in (dev, prod):
        servers.reset(server, Snapshot(template))
    made = scene.train(dev)
    folder = tmp_path_factory.mktemp("scene-")
    Tool(folder / "home")(*scene.copy_words(dev, prod)).expect(0)
    return servers.photograph(dev, folder / "dev"), servers.photograph(prod, folder / "prod"), made


@pytest.fixture
def both(copied: tuple[Snapshot, Snapshot, Trained], server_pool: ServerPool) -> Scene:
    """Both servers as the scene left them."""
    dev, prod = server_pool("source"), server_pool("destination")
    servers.reset(dev, copied[0])
    servers.reset(prod, copied[1])
    return Scene(dev, prod, copied[2])
