# Databricks notebook source
# MAGIC %md
# MAGIC # rewrite-export
# MAGIC
# MAGIC Make a new bundle of a bundle, with other names or without some tags, params or artifacts; the first one
# MAGIC stays. A model's new name is also put where its versions are named. The tags that make up a prompt always
# MAGIC stay. Folders of mlflow-export-import are taken too. A command that fails leaves nothing behind.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **input-dir** *: The bundle's folder.
# MAGIC * **output-dir** *: The new bundle's folder: new or empty.
# MAGIC * **experiment-rename-file**: CSV (old,new), YAML or JSON with new names.
# MAGIC * **model-rename-file**: The same for registered models and prompts.
# MAGIC * **drop-tags**: Leave out tags with such keys, of all objects: globs with commas.
# MAGIC * **drop-params**: Leave out params with such keys.
# MAGIC * **drop-artifacts**: Leave out artifacts of such a name or path: globs with commas.
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
dbutils.widgets.text("experiment-rename-file", "", "03 experiment-rename-file")
dbutils.widgets.text("model-rename-file", "", "04 model-rename-file")
dbutils.widgets.text("drop-tags", "", "05 drop-tags")
dbutils.widgets.text("drop-params", "", "06 drop-params")
dbutils.widgets.text("drop-artifacts", "", "07 drop-artifacts")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "08 dry-run")
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
    "09 allow-loss",
)
dbutils.widgets.text("state-dir", "", "10 state-dir")
dbutils.widgets.text("workers", "8", "11 workers")
dbutils.widgets.text("workspace", "", "12 workspace")
dbutils.widgets.text("config", "", "13 config")
dbutils.widgets.text("patience", "120.0", "14 patience")
dbutils.widgets.text("report", "", "15 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "16 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("rewrite-export", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
