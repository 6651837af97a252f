"""The real databricks-sdk as one of the principals, for tests of the emulator and of what the product left behind."""

from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config

from tests.databricks.state import ADMIN, Workspace

# databricks-sdk repeats 429, 503 and cut connections this long; its default hides what is broken for five minutes.
RETRY_SECONDS = 5


def sdk(workspace: Workspace, principal: str = ADMIN) -> WorkspaceClient:
    """A client with the principal's personal access token."""
    config = Config(
        host=workspace.url, token=workspace.token(principal), auth_type="pat", retry_timeout_seconds=RETRY_SECONDS
    )
    return WorkspaceClient(config=config)
