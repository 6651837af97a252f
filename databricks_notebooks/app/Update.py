# Databricks notebook source
# MAGIC %md
# MAGIC # app update
# MAGIC
# MAGIC Make an app what its configuration says now. One that is so already isn't touched.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **config**: The app's configuration [default: mlflow-app.yml where this folder has one].
# MAGIC * **rollback**: Go back to the deployment before one that failed.
# MAGIC * **force**: Deploy though nothing differs.
# MAGIC * **reset-database**: lakebase: drop the schema with everything in it first. Asks, or needs --yes.
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

dbutils.widgets.text("config", "", "01 config")
dbutils.widgets.dropdown("rollback", "true", ["true", "false"], "02 rollback")
dbutils.widgets.dropdown("force", "false", ["true", "false"], "03 force")
dbutils.widgets.dropdown("reset-database", "false", ["true", "false"], "04 reset-database")
dbutils.widgets.dropdown("yes", "false", ["true", "false"], "05 yes")
dbutils.widgets.text("workspace", "databricks", "06 workspace")
dbutils.widgets.text("timeout", "1200.0", "07 timeout")
dbutils.widgets.text("poll", "0.5", "08 poll")
dbutils.widgets.text("patience", "120.0", "09 patience")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "10 dry-run")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "11 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("app update", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
