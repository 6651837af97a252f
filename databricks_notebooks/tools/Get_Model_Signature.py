# Databricks notebook source
# MAGIC %md
# MAGIC # get-model-signature
# MAGIC
# MAGIC Show the signature of a model as JSON; exit code 1 where it has none.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **model-uri** *: The model: models:/name/1, models:/name@alias, models:/m-… or runs:/id/path.
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
# MAGIC * **output-file**: Also write the signature to FILE, as JSON.
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

dbutils.widgets.text("model-uri", "", "01 model-uri *")
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

result = notebook.run("get-model-signature", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
