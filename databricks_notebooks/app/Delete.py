# Databricks notebook source
# MAGIC %md
# MAGIC # app delete
# MAGIC
# MAGIC Delete an app with its files and grants; its data stays, unless it is to go too. One that is gone is no
# MAGIC failure.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **delete-data**: Its data too: snapshots and artifacts in its Volume, its schema, its passphrase. Needs the
# MAGIC   configuration.
# MAGIC * **config**: The app's configuration [default: mlflow-app.yml where this folder has one].
# MAGIC * **name**: The app, by its name instead of its configuration.
# MAGIC * **yes**: Don't ask; needed where there is no terminal to ask at.
# MAGIC * **workspace**: The workspace: databricks://PROFILE, or databricks for the one the environment names.
# MAGIC * **timeout**: How long the platform is waited for, at each step.
# MAGIC * **poll**: Between the first two looks; later ones are up to 10 seconds apart.
# MAGIC * **patience**: How long a request is repeated while the workspace is down or busy.
# MAGIC * **dry-run**: Read for real, write nothing, say what would be done.
# MAGIC * **verbose**: Show requests that are repeated; -vv tracebacks too.

# COMMAND ----------

# MAGIC %pip install mlflow-migration==0.1.0

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

dbutils.widgets.dropdown("delete-data", "false", ["true", "false"], "01 delete-data")
dbutils.widgets.text("config", "", "02 config")
dbutils.widgets.text("name", "", "03 name")
dbutils.widgets.dropdown("yes", "false", ["true", "false"], "04 yes")
dbutils.widgets.text("workspace", "databricks", "05 workspace")
dbutils.widgets.text("timeout", "1200.0", "06 timeout")
dbutils.widgets.text("poll", "0.5", "07 poll")
dbutils.widgets.text("patience", "120.0", "08 patience")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "09 dry-run")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "10 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("app delete", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
