# Databricks notebook source
# MAGIC %md
# MAGIC # app snapshot
# MAGIC
# MAGIC Make a bundle of what a deployed app holds, artifacts and all: a backup that any MLflow can be filled with.
# MAGIC With backend sqlite it is made of a snapshot, and the app needn't run. With lakebase, and with --live, it
# MAGIC comes through the app's API, and with databricks from the workspace that the app shows: as export-all does.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **to** *: The folder of the bundle.
# MAGIC * **generation**: Of this generation [default: the one that counts].
# MAGIC * **live**: Of the running app, through its API: what it holds at this moment.
# MAGIC * **config**: The app's configuration [default: mlflow-app.yml where this folder has one].
# MAGIC * **name**: The app, by its name instead of its configuration.
# MAGIC * **volume**: Where the app's snapshots are, where no configuration says it: /Volumes/CATALOG/SCHEMA/VOLUME or
# MAGIC   a folder.
# MAGIC * **artifacts**: Where its artifacts are, where no configuration says it [default: VOLUME/artifacts].
# MAGIC * **workspace**: The workspace: databricks://PROFILE, or databricks for the one the environment names.
# MAGIC * **verbose**: Show what is done; -vv with every repeat and traceback.
# MAGIC * **dry-run**: Read for real, write nothing, say what would be done.
# MAGIC * **allow-loss**: Don't fail when things of this kind can't go. Repeatable.
# MAGIC * **report**: Also write the report to FILE: .json, .md or .html.

# COMMAND ----------

# MAGIC %pip install mlflow-migration==0.1.0

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

dbutils.widgets.text("to", "", "01 to *")
dbutils.widgets.text("generation", "", "02 generation")
dbutils.widgets.dropdown("live", "false", ["true", "false"], "03 live")
dbutils.widgets.text("config", "", "04 config")
dbutils.widgets.text("name", "", "05 name")
dbutils.widgets.text("volume", "", "06 volume")
dbutils.widgets.text("artifacts", "", "07 artifacts")
dbutils.widgets.text("workspace", "databricks", "08 workspace")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "09 verbose")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "10 dry-run")
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
    "11 allow-loss",
)
dbutils.widgets.text("report", "", "12 report")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("app snapshot", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
