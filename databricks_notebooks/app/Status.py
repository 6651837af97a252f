# Databricks notebook source
# MAGIC %md
# MAGIC # app status
# MAGIC
# MAGIC Show how an app is: compute, deployment, backend, last snapshot and what would be lost now, disk, versions.
# MAGIC Exit code 0 where it runs and is well, 1 otherwise. What the app tells of itself needs OAuth: with a personal
# MAGIC token the rest is shown, and doesn't count as well.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **config**: The app's configuration [default: mlflow-app.yml where this folder has one].
# MAGIC * **name**: The app, by its name instead of its configuration.
# MAGIC * **workspace**: The workspace: databricks://PROFILE, or databricks for the one the environment names.

# COMMAND ----------

# MAGIC %pip install mlflow-migration==0.1.0

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

dbutils.widgets.text("config", "", "01 config")
dbutils.widgets.text("name", "", "02 name")
dbutils.widgets.text("workspace", "databricks", "03 workspace")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("app status", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
