# Databricks notebook source
# MAGIC %md
# MAGIC # filter-export
# MAGIC
# MAGIC Make a new bundle of chosen objects of a bundle, which stays as it is. What is named is taken, and what the
# MAGIC versions of named models and prompts were made of, so that they can be imported: runs with their parents and
# MAGIC logged models, and the heads of their experiments. Folders of mlflow-export-import are taken too. A command
# MAGIC that fails leaves nothing behind.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **input-dir** *: The bundle's folder.
# MAGIC * **output-dir** *: The new bundle's folder: new or empty.
# MAGIC * **experiments**: These experiments with all in them: ids too, names or globs with commas, a .txt file, or
# MAGIC   all.
# MAGIC * **models**: These registered models, with the runs their versions were made of: names or globs with commas,
# MAGIC   a .txt file, or all
# MAGIC * **prompts**: These prompts: names or globs with commas, a .txt file, or all.
# MAGIC * **kinds**: Only these kinds, and those they belong to, with commas; `kinds` lists them. Alone: everything of
# MAGIC   them.
# MAGIC * **dry-run**: Read for real, write nothing, say what would be done.
# MAGIC * **allow-loss**: Don't fail when things of this kind can't go.
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

dbutils.widgets.text("input-dir", "", "01 input-dir *")
dbutils.widgets.text("output-dir", "", "02 output-dir *")
dbutils.widgets.text("experiments", "", "03 experiments")
dbutils.widgets.text("models", "", "04 models")
dbutils.widgets.text("prompts", "", "05 prompts")
dbutils.widgets.text("kinds", "", "06 kinds")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "07 dry-run")
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
    "08 allow-loss",
)
dbutils.widgets.text("state-dir", "", "09 state-dir")
dbutils.widgets.text("workers", "8", "10 workers")
dbutils.widgets.text("workspace", "", "11 workspace")
dbutils.widgets.text("config", "", "12 config")
dbutils.widgets.text("patience", "120.0", "13 patience")
dbutils.widgets.text("report", "", "14 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "15 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("filter-export", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
