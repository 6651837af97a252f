# Databricks notebook source
# MAGIC %md
# MAGIC # list-model-versions-without-signatures
# MAGIC
# MAGIC List the versions of registered models that have no signature; exit code 1 where one couldn't be looked at.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **filter**: Only versions this MLflow search finds, e.g. "name LIKE 'sklearn%'".
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
# MAGIC * **output-file**: Also write the list to FILE, as CSV.
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

dbutils.widgets.text("filter", "", "01 filter")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "02 tracking-uri")
dbutils.widgets.text("artifact-root", "", "03 artifact-root")
dbutils.widgets.text("output-file", "", "04 output-file")
dbutils.widgets.text("workers", "8", "05 workers")
dbutils.widgets.text("workspace", "", "06 workspace")
dbutils.widgets.text("config", "", "07 config")
dbutils.widgets.text("patience", "120.0", "08 patience")
dbutils.widgets.text("report", "", "09 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "10 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("list-model-versions-without-signatures", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
