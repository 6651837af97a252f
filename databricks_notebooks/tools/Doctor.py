# Databricks notebook source
# MAGIC %md
# MAGIC # doctor
# MAGIC
# MAGIC Check versions, and of each place whether it can be reached, read and written. Changes nothing.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **places**: As it is typed behind the command's name: [PLACE [PLACE]].
# MAGIC * **schema**: Where a place is databricks-uc: whether who asks has the privileges to read models of this
# MAGIC   schema, and at the second place (or where there is only one) to write them; exit code 1 where one is
# MAGIC   missing. check-access tells more.
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

dbutils.widgets.text("places", "", "01 places")
dbutils.widgets.text("schema", "", "02 schema")
dbutils.widgets.text("workers", "8", "03 workers")
dbutils.widgets.text("workspace", "", "04 workspace")
dbutils.widgets.text("config", "", "05 config")
dbutils.widgets.text("patience", "120.0", "06 patience")
dbutils.widgets.text("report", "", "07 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "08 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("doctor", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
