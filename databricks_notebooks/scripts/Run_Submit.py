# Databricks notebook source
# MAGIC %md
# MAGIC # run-submit
# MAGIC
# MAGIC Run a notebook or a command of this tool as a Databricks job, follow it, and end as it ended. Ctrl-C stops
# MAGIC following; the job goes on, and what is said then follows or cancels it. The exit code is 0 where all tasks
# MAGIC succeeded, 1 where one didn't.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **spec-file**: YAML or JSON: a job as runs/submit takes it, or without tasks what the task and the job need
# MAGIC   besides: new_cluster, existing_cluster_id, environments, access_control_list, …
# MAGIC * **notebook**: The notebook's path in the workspace, without .py.
# MAGIC * **param**: A widget's value. Repeatable. Several: with ';' between them.
# MAGIC * **wheel**: This tool's wheel, in a Volume or the workspace, or a requirement.
# MAGIC * **entry-point**: With --wheel: the command to run, as export-all.
# MAGIC * **args**: With --wheel: its words, "--output-dir /Volumes/…".
# MAGIC * **cluster-id**: Run on this cluster [default: serverless compute].
# MAGIC * **run-name**: What the run is called [default: mlflow-migration].
# MAGIC * **timeout**: The workspace stops the job after so long.
# MAGIC * **idempotency-token**: The same token starts the same run only once.
# MAGIC * **follow**: Start nothing; follow the run of this id.
# MAGIC * **cancel**: Start nothing; ask the run of this id to stop.
# MAGIC * **no-wait**: Don't follow the run; say its id.
# MAGIC * **profile**: A profile of ~/.databrickscfg, short for --tracking-uri.
# MAGIC * **tracking-uri**: The workspace, as databricks://PROFILE.
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

dbutils.widgets.text("spec-file", "", "01 spec-file")
dbutils.widgets.text("notebook", "", "02 notebook")
dbutils.widgets.text("param", "", "03 param")
dbutils.widgets.text("wheel", "", "04 wheel")
dbutils.widgets.text("entry-point", "", "05 entry-point")
dbutils.widgets.text("args", "", "06 args")
dbutils.widgets.text("cluster-id", "", "07 cluster-id")
dbutils.widgets.text("run-name", "", "08 run-name")
dbutils.widgets.text("timeout", "", "09 timeout")
dbutils.widgets.text("idempotency-token", "", "10 idempotency-token")
dbutils.widgets.text("follow", "", "11 follow")
dbutils.widgets.text("cancel", "", "12 cancel")
dbutils.widgets.dropdown("no-wait", "false", ["true", "false"], "13 no-wait")
dbutils.widgets.text("profile", "", "14 profile")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "15 tracking-uri")
dbutils.widgets.text("workers", "8", "16 workers")
dbutils.widgets.text("workspace", "", "17 workspace")
dbutils.widgets.text("config", "", "18 config")
dbutils.widgets.text("patience", "120.0", "19 patience")
dbutils.widgets.text("report", "", "20 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "21 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("run-submit", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
