# Databricks notebook source
# MAGIC %md
# MAGIC # id-map
# MAGIC
# MAGIC List which object of a destination came from which at its source, as CSV (or JSON with --json). Objects carry
# MAGIC where they came from in tags. Issues, scorers, label schemas, review queues, webhooks and the gateway's
# MAGIC models, budgets and guardrails have none: those are known by the ledgers of the jobs that brought them, on the
# MAGIC machine that ran them.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **place** *: As it is typed behind the command's name: PLACE.
# MAGIC * **output-file**: Write to FILE instead of stdout.
# MAGIC * **state-dir**: Where the job's ledger lives [default: ~/.local/state/mlflow-migration].
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
dbutils.widgets.text("output-file", "", "02 output-file")
dbutils.widgets.text("state-dir", "", "03 state-dir")
dbutils.widgets.text("workers", "8", "04 workers")
dbutils.widgets.text("workspace", "", "05 workspace")
dbutils.widgets.text("config", "", "06 config")
dbutils.widgets.text("patience", "120.0", "07 patience")
dbutils.widgets.text("report", "", "08 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "09 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("id-map", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
