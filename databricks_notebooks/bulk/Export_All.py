# Databricks notebook source
# MAGIC %md
# MAGIC # export-all
# MAGIC
# MAGIC Export everything a server holds to a bundle.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **output-dir** *: The bundle's folder: new, empty, or this bundle.
# MAGIC * **experiments**: Of the experiments only these: names, ids or globs with commas, or a .txt file.
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
# MAGIC * **filter**: Only runs this MLflow search finds, e.g. "metrics.acc > 0.9".
# MAGIC * **run-start-time**: Only runs started at or after this time (UTC: 2024-05-01, or 7d for an age).
# MAGIC * **runs-until**: Only runs started at or before this time.
# MAGIC * **check-nested-runs**: With chosen runs, take their parents and children too.
# MAGIC * **export-deleted-runs**: Take deleted experiments and runs too; they arrive deleted.
# MAGIC * **shard**: Only part N of M parts, the same on every machine: experiments, models and others by a hash of id
# MAGIC   or name, each with all that belongs to it. All M parts together are the whole.
# MAGIC * **engine**: Where to run: on this machine, or on the active Spark session, each task a shard, into one
# MAGIC   bundle in a folder that all machines share (a path, or s3://… through fsspec). Needs
# MAGIC   mlflow-migration[spark].
# MAGIC * **shards**: With --engine spark: how many shards [default: 4 for each task at once, at most one an
# MAGIC   experiment].
# MAGIC * **artifacts**: Copy artifacts, leave them out, or only keep their address (tag
# MAGIC   mlflow_migration.artifact_uri).
# MAGIC * **max-artifact-size**: Leave out larger artifacts, and say which (20k, 1.5G).
# MAGIC * **checksum**: Compare artifacts that are there already by their bytes, not only by their size.
# MAGIC * **dry-run**: Read for real, write nothing, say what would be done.
# MAGIC * **allow-loss**: Don't fail when things of this kind can't go.
# MAGIC * **state-dir**: Where the job's ledger lives [default: ~/.local/state/mlflow-migration].
# MAGIC * **export-permissions**: Take permissions too: at Databricks those of each experiment and model; of a server
# MAGIC   with users those and its users and roles, no passwords. For administrators.
# MAGIC * **export-latest-versions**: Of registered models only the latest version of each stage.
# MAGIC * **stages**: Of registered models only versions in these stages.
# MAGIC * **notebook-formats**: Take along the Databricks notebook each run was made with, at its revision, in these
# MAGIC   formats: SOURCE, HTML, JUPYTER, DBC, with commas between them.
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

dbutils.widgets.text("output-dir", "", "01 output-dir *")
dbutils.widgets.text("experiments", "all", "02 experiments")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "03 tracking-uri")
dbutils.widgets.text("artifact-root", "", "04 artifact-root")
dbutils.widgets.text("filter", "", "05 filter")
dbutils.widgets.text("run-start-time", "", "06 run-start-time")
dbutils.widgets.text("runs-until", "", "07 runs-until")
dbutils.widgets.dropdown("check-nested-runs", "false", ["true", "false"], "08 check-nested-runs")
dbutils.widgets.dropdown("export-deleted-runs", "true", ["true", "false"], "09 export-deleted-runs")
dbutils.widgets.text("shard", "", "10 shard")
dbutils.widgets.dropdown("engine", "threads", ["threads", "spark"], "11 engine")
dbutils.widgets.text("shards", "", "12 shards")
dbutils.widgets.dropdown("artifacts", "copy", ["copy", "skip", "reference"], "13 artifacts")
dbutils.widgets.text("max-artifact-size", "", "14 max-artifact-size")
dbutils.widgets.dropdown("checksum", "false", ["true", "false"], "15 checksum")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "16 dry-run")
dbutils.widgets.multiselect(
    "allow-loss",
    "none",
    [
        "none",
        "all",
        "artifact",
        "assessment",
        "input",
        "link",
        "metadata",
        "metric",
        "name",
        "notebook",
        "param",
        "permission",
        "secret",
        "tag",
        "access_list",
        "evaluation_dataset",
        "gateway_budget",
        "gateway_endpoint",
        "gateway_guardrail",
        "gateway_model_definition",
        "gateway_secret",
        "grant",
        "issue",
        "label_schema",
        "logged_model",
        "mcp_server",
        "model_version",
        "prompt",
        "prompt_version",
        "registered_model",
        "review_queue",
        "role",
        "scorer",
        "trace",
        "user",
        "webhook",
        "workspace",
    ],
    "17 allow-loss",
)
dbutils.widgets.text("state-dir", "", "18 state-dir")
dbutils.widgets.dropdown("export-permissions", "false", ["true", "false"], "19 export-permissions")
dbutils.widgets.dropdown("export-latest-versions", "false", ["true", "false"], "20 export-latest-versions")
dbutils.widgets.text("stages", "", "21 stages")
dbutils.widgets.text("notebook-formats", "", "22 notebook-formats")
dbutils.widgets.text("workers", "8", "23 workers")
dbutils.widgets.text("workspace", "", "24 workspace")
dbutils.widgets.text("config", "", "25 config")
dbutils.widgets.text("patience", "120.0", "26 patience")
dbutils.widgets.text("report", "", "27 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "28 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("export-all", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
