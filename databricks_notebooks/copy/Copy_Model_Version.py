# Databricks notebook source
# MAGIC %md
# MAGIC # copy-model-version
# MAGIC
# MAGIC Copy one version to another registered model, under its next number; once, however often it is typed.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **src-model** *: The registered model at the source.
# MAGIC * **src-version** *: Its version.
# MAGIC * **dst-model** *: The model that gets a new version; made if need be.
# MAGIC * **src-registry-uri**: The source: a server, a database or a file store.
# MAGIC * **src-artifact-root**: Where the source is a database: the folder or address where its server keeps
# MAGIC   artifacts (what the server has as --artifacts-destination), for those it gives out itself.
# MAGIC * **dst-registry-uri**: The destination server; it may be the same.
# MAGIC * **dst-experiment-name**: Copy the version's run and logged model too, into this experiment (a deep copy).
# MAGIC   Without it the new version shares them with the old one: on one server, or where they have been brought
# MAGIC   before.
# MAGIC * **copy-stages-and-aliases**: Give the new version the stage and aliases of the old one.
# MAGIC * **stages-to-aliases**: Where the destination has no stages (Unity Catalog): the aliases that the newest
# MAGIC   version of each stage gets, like Production=champion,Staging=challenger.
# MAGIC * **aliases-to-stages**: Where the destination has no aliases (a Databricks workspace's registry): the stages
# MAGIC   that their versions get, like champion=Production.
# MAGIC * **copy-lineage-tags**: Add mlflow_exim.* tags that tell where the version came from.
# MAGIC * **artifacts**: Copy artifacts, leave them out, or only keep their address (tag
# MAGIC   mlflow_migration.artifact_uri).
# MAGIC * **max-artifact-size**: Leave out larger artifacts, and say which (20k, 1.5G).
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

dbutils.widgets.text("src-model", "", "01 src-model *")
dbutils.widgets.text("src-version", "", "02 src-version *")
dbutils.widgets.text("dst-model", "", "03 dst-model *")
dbutils.widgets.combobox("src-registry-uri", "databricks", ["databricks", "databricks-uc"], "04 src-registry-uri")
dbutils.widgets.text("src-artifact-root", "", "05 src-artifact-root")
dbutils.widgets.combobox("dst-registry-uri", "databricks", ["databricks", "databricks-uc"], "06 dst-registry-uri")
dbutils.widgets.text("dst-experiment-name", "", "07 dst-experiment-name")
dbutils.widgets.dropdown("copy-stages-and-aliases", "false", ["true", "false"], "08 copy-stages-and-aliases")
dbutils.widgets.text("stages-to-aliases", "", "09 stages-to-aliases")
dbutils.widgets.text("aliases-to-stages", "", "10 aliases-to-stages")
dbutils.widgets.dropdown("copy-lineage-tags", "false", ["true", "false"], "11 copy-lineage-tags")
dbutils.widgets.dropdown("artifacts", "copy", ["copy", "skip", "reference"], "12 artifacts")
dbutils.widgets.text("max-artifact-size", "", "13 max-artifact-size")
dbutils.widgets.dropdown("checksum", "false", ["true", "false"], "14 checksum")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "15 dry-run")
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
    "16 allow-loss",
)
dbutils.widgets.text("state-dir", "", "17 state-dir")
dbutils.widgets.text("workers", "8", "18 workers")
dbutils.widgets.text("workspace", "", "19 workspace")
dbutils.widgets.text("config", "", "20 config")
dbutils.widgets.text("patience", "120.0", "21 patience")
dbutils.widgets.text("report", "", "22 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "23 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("copy-model-version", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
