# Databricks notebook source
# MAGIC %md
# MAGIC # check-access
# MAGIC
# MAGIC Tell which Unity Catalog privileges somebody has, by what, and the GRANT statement for each one missing.
# MAGIC Needed privileges on models, tables and volumes are looked for on the one that is named, else on its schema or
# MAGIC catalog, which give them to all that is in it. Exit code 1 where one is missing, 3 where it can't be asked.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **place** *: As it is typed behind the command's name: PLACE.
# MAGIC * **principal**: A user's name, a group's display name, or a service principal's application id [default: who
# MAGIC   asks].
# MAGIC * **catalog**: The catalog; it may stand in the other names.
# MAGIC * **schema**: A schema of it, or CATALOG.SCHEMA.
# MAGIC * **model**: A registered model: its name in the schema, or all three.
# MAGIC * **table**: A table, likewise: what is read, or written.
# MAGIC * **volume**: A volume, likewise.
# MAGIC * **for**: What for: train, batch, serve, export, import, alias, volume, or privileges (USE_CATALOG,
# MAGIC   CREATE_MODEL, …), with commas. Repeatable [default: all that models and tables need; with --volume reading
# MAGIC   and writing it]. Several: with ';' between them.
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

dbutils.widgets.text("place", "", "01 place *")
dbutils.widgets.text("principal", "", "02 principal")
dbutils.widgets.text("catalog", "", "03 catalog")
dbutils.widgets.text("schema", "", "04 schema")
dbutils.widgets.text("model", "", "05 model")
dbutils.widgets.text("table", "", "06 table")
dbutils.widgets.text("volume", "", "07 volume")
dbutils.widgets.text("for", "", "08 for")
dbutils.widgets.text("workers", "8", "09 workers")
dbutils.widgets.text("workspace", "", "10 workspace")
dbutils.widgets.text("config", "", "11 config")
dbutils.widgets.text("patience", "120.0", "12 patience")
dbutils.widgets.text("report", "", "13 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "14 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("check-access", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
