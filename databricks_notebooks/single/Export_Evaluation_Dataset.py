# Databricks notebook source
# MAGIC %md
# MAGIC # export-evaluation-dataset
# MAGIC
# MAGIC Export one evaluation dataset with its records.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **output-dir** *: The bundle's folder: new, empty, or this bundle.
# MAGIC * **dataset-name**: The dataset's name.
# MAGIC * **dataset-id**: Its id, as names are not unique.
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
# MAGIC * **checksum**: Compare artifacts that are there already by their bytes, not only by their size.
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

dbutils.widgets.text("output-dir", "", "01 output-dir *")
dbutils.widgets.text("dataset-name", "", "02 dataset-name")
dbutils.widgets.text("dataset-id", "", "03 dataset-id")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "04 tracking-uri")
dbutils.widgets.text("artifact-root", "", "05 artifact-root")
dbutils.widgets.dropdown("checksum", "false", ["true", "false"], "06 checksum")
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

result = notebook.run("export-evaluation-dataset", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
