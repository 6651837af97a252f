# Databricks notebook source
# MAGIC %md
# MAGIC # app create
# MAGIC
# MAGIC Make the app of a configuration: database, secret, app, rights, files, deployment. Everything is looked at
# MAGIC first; what is wrong is told in one list, and nothing is begun. The same command goes on where it stopped. A
# MAGIC passphrase MLflow encrypts with that exists already is taken from MLFLOW_MIGRATION_APP_ENCRYPTION_KEY; one
# MAGIC that the workspace has stays.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **config**: The app's configuration [default: mlflow-app.yml where this folder has one].
# MAGIC * **clean**: Remove what a first deployment made, if it fails.
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
dbutils.widgets.dropdown("clean", "false", ["true", "false"], "02 clean")
dbutils.widgets.text("workspace", "databricks", "03 workspace")
dbutils.widgets.text("timeout", "1200.0", "04 timeout")
dbutils.widgets.text("poll", "0.5", "05 poll")
dbutils.widgets.text("patience", "120.0", "06 patience")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "07 dry-run")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "08 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("app create", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
