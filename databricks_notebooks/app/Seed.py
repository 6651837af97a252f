# Databricks notebook source
# MAGIC %md
# MAGIC # app seed
# MAGIC
# MAGIC Fill a new app with the content of a bundle, and compare the two. With backend sqlite the bundle becomes the
# MAGIC first snapshot, ids and times kept, before the app starts. With lakebase it goes through the API of the app,
# MAGIC which has to run, and with databricks into the workspace that the app shows: as import-all and verify do.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **input-dir** *: The bundle.
# MAGIC * **replace**: sqlite: though the app has data. It stays, as a generation to go back to.
# MAGIC * **rename**: lakebase, databricks: another name there, as import-all takes it. Repeatable. Several: with ';'
# MAGIC   between them.
# MAGIC * **prefix**: lakebase, databricks: put TEXT before names, as import-all does; CATALOG.SCHEMA. is for models
# MAGIC   and prompts of databricks.
# MAGIC * **stages-to-aliases**: databricks: the aliases that versions in a stage get there, as import-all takes it.
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

dbutils.widgets.text("input-dir", "", "01 input-dir *")
dbutils.widgets.dropdown("replace", "false", ["true", "false"], "02 replace")
dbutils.widgets.text("rename", "", "03 rename")
dbutils.widgets.text("prefix", "", "04 prefix")
dbutils.widgets.text("stages-to-aliases", "", "05 stages-to-aliases")
dbutils.widgets.text("config", "", "06 config")
dbutils.widgets.text("name", "", "07 name")
dbutils.widgets.text("volume", "", "08 volume")
dbutils.widgets.text("artifacts", "", "09 artifacts")
dbutils.widgets.text("workspace", "databricks", "10 workspace")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "11 verbose")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "12 dry-run")
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
    "13 allow-loss",
)
dbutils.widgets.text("report", "", "14 report")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("app seed", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
