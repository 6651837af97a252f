# Databricks notebook source
# MAGIC %md
# MAGIC # http-client
# MAGIC
# MAGIC Call a server's REST API once, with the credentials its place has, and show the JSON it answers. Only a GET is
# MAGIC repeated when it fails.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **resource** *: What is called: experiments/search is /api/2.0/mlflow/experiments/search; a path from / on
# MAGIC   is taken whole.
# MAGIC * **api**: Whose API: a path is below /api/2.0/mlflow/, or below /api/2.0/ of a Databricks workspace.
# MAGIC * **method**: The HTTP method [default: POST with --data, else GET].
# MAGIC * **params**: URL parameters: {"key": "value"}, or a file of it as @FILE.
# MAGIC * **data**: The body: JSON, or a file of it, as FILE or @FILE.
# MAGIC * **output-file**: Also write the answer to FILE.
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

dbutils.widgets.text("resource", "", "01 resource *")
dbutils.widgets.dropdown("api", "mlflow", ["mlflow", "databricks"], "02 api")
dbutils.widgets.dropdown("method", "none", ["none", "GET", "POST", "PUT", "PATCH", "DELETE"], "03 method")
dbutils.widgets.text("params", "", "04 params")
dbutils.widgets.text("data", "", "05 data")
dbutils.widgets.text("output-file", "", "06 output-file")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "07 tracking-uri")
dbutils.widgets.text("artifact-root", "", "08 artifact-root")
dbutils.widgets.text("workers", "8", "09 workers")
dbutils.widgets.text("workspace", "", "10 workspace")
dbutils.widgets.text("config", "", "11 config")
dbutils.widgets.text("patience", "120.0", "12 patience")
dbutils.widgets.text("report", "", "13 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "14 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("http-client", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
