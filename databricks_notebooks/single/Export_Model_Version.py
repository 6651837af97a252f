# Databricks notebook source
# MAGIC %md
# MAGIC # export-model-version
# MAGIC
# MAGIC Export one version of a registered model with its run and logged model.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **model** *: The registered model's name.
# MAGIC * **version** *: The version's number.
# MAGIC * **output-dir** *: The bundle's folder: new, empty, or this bundle.
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
# MAGIC * **skip-download-run-artifacts**: Leave out all artifacts: the same as --artifacts skip.
# MAGIC * **artifacts**: Copy artifacts, leave them out, or only keep their address (tag
# MAGIC   mlflow_migration.artifact_uri).
# MAGIC * **max-artifact-size**: Leave out larger artifacts, and say which (20k, 1.5G).
# MAGIC * **checksum**: Compare artifacts that are there already by their bytes, not only by their size.
# MAGIC * **dry-run**: Read for real, write nothing, say what would be done.
# MAGIC * **allow-loss**: Don't fail when things of this kind can't go.
# MAGIC * **state-dir**: Where the job's ledger lives [default: ~/.local/state/mlflow-migration].
# MAGIC * **export-permissions**: Take the permissions of these experiments and models too, at Databricks. Of a server
# MAGIC   with users the commands for whole servers take them.
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

dbutils.widgets.text("model", "", "01 model *")
dbutils.widgets.text("version", "", "02 version *")
dbutils.widgets.text("output-dir", "", "03 output-dir *")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "04 tracking-uri")
dbutils.widgets.text("artifact-root", "", "05 artifact-root")
dbutils.widgets.dropdown("skip-download-run-artifacts", "false", ["true", "false"], "06 skip-download-run-artifacts")
dbutils.widgets.dropdown("artifacts", "copy", ["copy", "skip", "reference"], "07 artifacts")
dbutils.widgets.text("max-artifact-size", "", "08 max-artifact-size")
dbutils.widgets.dropdown("checksum", "false", ["true", "false"], "09 checksum")
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
dbutils.widgets.text("state-dir", "", "12 state-dir")
dbutils.widgets.dropdown("export-permissions", "false", ["true", "false"], "13 export-permissions")
dbutils.widgets.text("notebook-formats", "", "14 notebook-formats")
dbutils.widgets.text("workers", "8", "15 workers")
dbutils.widgets.text("workspace", "", "16 workspace")
dbutils.widgets.text("config", "", "17 config")
dbutils.widgets.text("patience", "120.0", "18 patience")
dbutils.widgets.text("report", "", "19 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "20 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("export-model-version", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
