# Databricks notebook source
# MAGIC %md
# MAGIC # export-model
# MAGIC
# MAGIC Export one registered model with its versions, their runs (and the parents of those) and logged models.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **model** *: The registered model's name.
# MAGIC * **output-dir** *: The bundle's folder: new, empty, or this bundle.
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
# MAGIC * **stages**: Only versions in these stages, with commas.
# MAGIC * **versions**: Only these versions, with commas.
# MAGIC * **export-latest-versions**: Only the latest version of each stage.
# MAGIC * **export-deleted-runs**: Take deleted runs too; they arrive deleted.
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
dbutils.widgets.text("output-dir", "", "02 output-dir *")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "03 tracking-uri")
dbutils.widgets.text("artifact-root", "", "04 artifact-root")
dbutils.widgets.text("stages", "", "05 stages")
dbutils.widgets.text("versions", "", "06 versions")
dbutils.widgets.dropdown("export-latest-versions", "false", ["true", "false"], "07 export-latest-versions")
dbutils.widgets.dropdown("export-deleted-runs", "true", ["true", "false"], "08 export-deleted-runs")
dbutils.widgets.dropdown("artifacts", "copy", ["copy", "skip", "reference"], "09 artifacts")
dbutils.widgets.text("max-artifact-size", "", "10 max-artifact-size")
dbutils.widgets.dropdown("checksum", "false", ["true", "false"], "11 checksum")
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
dbutils.widgets.text("state-dir", "", "14 state-dir")
dbutils.widgets.dropdown("export-permissions", "false", ["true", "false"], "15 export-permissions")
dbutils.widgets.text("notebook-formats", "", "16 notebook-formats")
dbutils.widgets.text("workers", "8", "17 workers")
dbutils.widgets.text("workspace", "", "18 workspace")
dbutils.widgets.text("config", "", "19 config")
dbutils.widgets.text("patience", "120.0", "20 patience")
dbutils.widgets.text("report", "", "21 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "22 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("export-model", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
