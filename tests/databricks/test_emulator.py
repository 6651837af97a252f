"""The emulator answers the real databricks-sdk and the real MLflow client."""

from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config

from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN


def test_a_personal_access_token_tells_who_one_is(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    client = WorkspaceClient(config=Config(host=workspace.url, token=workspace.token(), auth_type="pat"))
    assert client.current_user.me().user_name == ADMIN
    assert client.get_workspace_id() == workspace.id
