"""`python -m mlflow_migration.apps.runtime`: the command of an app."""

import logging
import os
import sys

from mlflow_migration.apps.runtime import settings, supervisor
from mlflow_migration.apps.runtime.settings import SettingsError


def main() -> int:
    """Run the app by its environment; returns its exit code: 0 ended on demand, 1 something was lost, 2 settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s mlflow-app: %(message)s")
    # The SDK tells of every request it repeats; what comes of them is told here.
    logging.getLogger("databricks.sdk").setLevel(logging.WARNING)
    try:
        return supervisor.run(settings.read(os.environ), os.environ)
    except SettingsError as error:
        for line in str(error).splitlines():
            logging.getLogger(__name__).error("%s", line)
        return supervisor.USAGE


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stderr.flush()
    # Threads of an upload that hangs would keep the interpreter from ending, and the platform kills it then.
    os._exit(code)
