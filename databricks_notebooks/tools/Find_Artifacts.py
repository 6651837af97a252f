# Databricks notebook source
# MAGIC %md
# MAGIC # find-artifacts
# MAGIC
# MAGIC Find artifacts of a run by name; one path a line, folders end in "/". No match is no error.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **run-id** *: The run's id.
# MAGIC * **target** *: The file's or folder's name, or a glob.
# MAGIC * **path**: Look only below this folder of the run.
# MAGIC * **max-level**: Look so many levels deep [default: all].
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
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

dbutils.widgets.text("run-id", "", "01 run-id *")
dbutils.widgets.text("target", "", "02 target *")
dbutils.widgets.text("path", "", "03 path")
dbutils.widgets.text("max-level", "9223372036854775807", "04 max-level")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "05 tracking-uri")
dbutils.widgets.text("artifact-root", "", "06 artifact-root")
dbutils.widgets.text("workers", "8", "07 workers")
dbutils.widgets.text("workspace", "", "08 workspace")
dbutils.widgets.text("config", "", "09 config")
dbutils.widgets.text("patience", "120.0", "10 patience")
dbutils.widgets.text("report", "", "11 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "12 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("find-artifacts", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
