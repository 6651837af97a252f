# Databricks notebook source
# MAGIC %md
# MAGIC # app test
# MAGIC
# MAGIC Ask an app what a client of MLflow asks, by OAuth: health, version, page, experiments. Exit code 1 on a
# MAGIC failure.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **config**: The app's configuration [default: mlflow-app.yml where this folder has one].
# MAGIC * **name**: The app, by its name instead of its configuration.
# MAGIC * **workspace**: The workspace: databricks://PROFILE, or databricks for the one the environment names.
# MAGIC * **write**: Also make an experiment, a run, a metric, an artifact; delete them again.

# COMMAND ----------

# MAGIC %pip install mlflow-migration==0.1.0

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

dbutils.widgets.text("config", "", "01 config")
dbutils.widgets.text("name", "", "02 name")
dbutils.widgets.text("workspace", "databricks", "03 workspace")
dbutils.widgets.dropdown("write", "false", ["true", "false"], "04 write")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("app test", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
