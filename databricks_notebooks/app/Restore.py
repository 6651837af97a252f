# Databricks notebook source
# MAGIC %md
# MAGIC # app restore
# MAGIC
# MAGIC Go back to an older snapshot of an app on SQLite. Stop the app before, and start it after. The snapshot is
# MAGIC fetched and checked before it counts. All others stay, the one the app ended with among them. Artifacts are
# MAGIC never changed by it.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **generation**: The generation to go back to, or `previous`.
# MAGIC * **list**: Show which generations there are; nothing is changed.
# MAGIC * **check**: With --list: fetch each, and look at its digest and integrity.
# MAGIC * **config**: The app's configuration [default: mlflow-app.yml where this folder has one].
# MAGIC * **name**: The app, by its name instead of its configuration.
# MAGIC * **volume**: Where the app's snapshots are, where no configuration says it: /Volumes/CATALOG/SCHEMA/VOLUME or
# MAGIC   a folder.
# MAGIC * **artifacts**: Where its artifacts are, where no configuration says it [default: VOLUME/artifacts].
# MAGIC * **workspace**: The workspace: databricks://PROFILE, or databricks for the one the environment names.
# MAGIC * **verbose**: Show what is done; -vv with every repeat and traceback.
# MAGIC * **dry-run**: Read for real, write nothing, say what would be done.

# COMMAND ----------

# MAGIC %pip install mlflow-migration==0.1.0

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

dbutils.widgets.text("generation", "", "01 generation")
dbutils.widgets.dropdown("list", "false", ["true", "false"], "02 list")
dbutils.widgets.dropdown("check", "false", ["true", "false"], "03 check")
dbutils.widgets.text("config", "", "04 config")
dbutils.widgets.text("name", "", "05 name")
dbutils.widgets.text("volume", "", "06 volume")
dbutils.widgets.text("artifacts", "", "07 artifacts")
dbutils.widgets.text("workspace", "databricks", "08 workspace")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "09 verbose")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "10 dry-run")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("app restore", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
