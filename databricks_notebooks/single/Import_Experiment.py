# Databricks notebook source
# MAGIC %md
# MAGIC # import-experiment
# MAGIC
# MAGIC Import the one experiment of a bundle, under any name.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **experiment-name** *: The experiment's name at the destination.
# MAGIC * **input-dir** *: The bundle's folder.
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
# MAGIC * **rename**: Another name at the destination for an experiment, model or prompt: OLD=NEW, or a CSV (old,new),
# MAGIC   YAML or JSON file. experiment:OLD=NEW, model:OLD=NEW and prompt:OLD=NEW mean one kind. Repeatable. Several:
# MAGIC   with ';' between them.
# MAGIC * **prefix**: Put TEXT before the names of all experiments, models, prompts and evaluation datasets there;
# MAGIC   CATALOG.SCHEMA. before those of models and prompts alone, where the destination is Unity Catalog.
# MAGIC * **on-conflict**: What to do where the destination has an experiment, model or prompt of the name that didn't
# MAGIC   come from this source: skip it with all that belongs to it, fail, write it as NAME (2), or update that one
# MAGIC   [default: add to experiments; models and prompts fail unless they are equal].
# MAGIC * **dst-experiment-dir**: In a Databricks workspace: the folder of experiments whose names are no workspace
# MAGIC   paths [default: /Users/ and who you are].
# MAGIC * **stages-to-aliases**: Where the destination has no stages (Unity Catalog): the aliases that the newest
# MAGIC   version of each stage gets, like Production=champion,Staging=challenger.
# MAGIC * **aliases-to-stages**: Where the destination has no aliases (a Databricks workspace's registry): the stages
# MAGIC   that their versions get, like champion=Production.
# MAGIC * **online**: Write to a database although a server, or something else, has it open.
# MAGIC * **keep-ids**: Refuse a destination that can't keep ids and times. A database keeps them always; a server
# MAGIC   gives its own.
# MAGIC * **import-source-tags**: Add mlflow_exim.* tags that tell where an object came from.
# MAGIC * **use-src-user-id**: Keep the user of each run.
# MAGIC * **artifacts**: Copy artifacts, leave them out, or only keep their address (tag
# MAGIC   mlflow_migration.artifact_uri).
# MAGIC * **max-artifact-size**: Leave out larger artifacts, and say which (20k, 1.5G).
# MAGIC * **checksum**: Compare artifacts that are there already by their bytes, not only by their size.
# MAGIC * **dry-run**: Read for real, write nothing, say what would be done.
# MAGIC * **allow-loss**: Don't fail when things of this kind can't go.
# MAGIC * **state-dir**: Where the job's ledger lives [default: ~/.local/state/mlflow-migration].
# MAGIC * **import-permissions**: Take the permissions of these experiments and models too, at Databricks. Of a server
# MAGIC   with users the commands for whole servers take them.
# MAGIC * **principals**: With permissions: CSV (source,destination), YAML or JSON that says who at the source is who
# MAGIC   at the destination, where one of them is Databricks: users by name, groups by display name, service
# MAGIC   principals by application id. Nobody for a name without a destination; everyone else keeps theirs.
# MAGIC * **dst-notebook-dir**: Put the notebooks of runs below this folder of the Databricks workspace, each once;
# MAGIC   the tag mlflow_migration.notebook of a run tells where its own is.
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

dbutils.widgets.text("experiment-name", "", "01 experiment-name *")
dbutils.widgets.text("input-dir", "", "02 input-dir *")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "03 tracking-uri")
dbutils.widgets.text("artifact-root", "", "04 artifact-root")
dbutils.widgets.text("rename", "", "05 rename")
dbutils.widgets.text("prefix", "", "06 prefix")
dbutils.widgets.dropdown("on-conflict", "none", ["none", "skip", "fail", "new-name", "update"], "07 on-conflict")
dbutils.widgets.text("dst-experiment-dir", "", "08 dst-experiment-dir")
dbutils.widgets.text("stages-to-aliases", "", "09 stages-to-aliases")
dbutils.widgets.text("aliases-to-stages", "", "10 aliases-to-stages")
dbutils.widgets.dropdown("online", "false", ["true", "false"], "11 online")
dbutils.widgets.dropdown("keep-ids", "false", ["true", "false"], "12 keep-ids")
dbutils.widgets.dropdown("import-source-tags", "false", ["true", "false"], "13 import-source-tags")
dbutils.widgets.dropdown("use-src-user-id", "true", ["true", "false"], "14 use-src-user-id")
dbutils.widgets.dropdown("artifacts", "copy", ["copy", "skip", "reference"], "15 artifacts")
dbutils.widgets.text("max-artifact-size", "", "16 max-artifact-size")
dbutils.widgets.dropdown("checksum", "false", ["true", "false"], "17 checksum")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "18 dry-run")
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
    "19 allow-loss",
)
dbutils.widgets.text("state-dir", "", "20 state-dir")
dbutils.widgets.dropdown("import-permissions", "false", ["true", "false"], "21 import-permissions")
dbutils.widgets.text("principals", "", "22 principals")
dbutils.widgets.text("dst-notebook-dir", "", "23 dst-notebook-dir")
dbutils.widgets.text("workers", "8", "24 workers")
dbutils.widgets.text("workspace", "", "25 workspace")
dbutils.widgets.text("config", "", "26 config")
dbutils.widgets.text("patience", "120.0", "27 patience")
dbutils.widgets.text("report", "", "28 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "29 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("import-experiment", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
