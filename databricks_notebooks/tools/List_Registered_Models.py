# Databricks notebook source
# MAGIC %md
# MAGIC # list-registered-models
# MAGIC
# MAGIC List the registered models of a server or bundle with their versions, stages and aliases; prompts are left
# MAGIC out.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **tracking-uri**: The server, a database's address, or a bundle's folder.
# MAGIC * **workers**: Requests at once, at most; fewer where a server is slower with more.
# MAGIC * **workspace**: The workspace at the source and the one at the destination; one name for both. Needs MLflow
# MAGIC   3.10 and `mlflow server --enable-workspaces`.
# MAGIC * **config**: Configuration with named places [default: ./mlflow-migration.yml].
# MAGIC * **patience**: How long a request is repeated while a server is down or busy.
# MAGIC * **report**: Also write the report to FILE: .json, .md or .html.
# MAGIC * **verbose**: Show what is done; -vv with every repeat and traceback.

# COMMAND ----------

# MAGIC %pip install mlflow-migration==0.1.0

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "01 tracking-uri")
dbutils.widgets.text("workers", "8", "02 workers")
dbutils.widgets.text("workspace", "", "03 workspace")
dbutils.widgets.text("config", "", "04 config")
dbutils.widgets.text("patience", "120.0", "05 patience")
dbutils.widgets.text("report", "", "06 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "07 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("list-registered-models", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
