# Databricks notebook source
# MAGIC %md
# MAGIC # copy-all
# MAGIC
# MAGIC Copy everything from server to server, nothing staged on disk.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **src-mlflow-uri**: The source: a server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **src-artifact-root**: Where the source is a database: the folder or address where its server keeps
# MAGIC   artifacts (what the server has as --artifacts-destination), for those it gives out itself.
# MAGIC * **dst-mlflow-uri**: The destination: a server (http(s)://…, databricks[://PROFILE],
# MAGIC   databricks-uc[://PROFILE], databricks-app://[PROFILE/]NAME), or a database's address.
# MAGIC * **dst-artifact-root**: Where the destination is a database: the folder or address where its server keeps
# MAGIC   artifacts (what the server has as --artifacts-destination), for those it gives out itself.
# MAGIC * **experiments**: Of the experiments only these: names, ids or globs with commas, or a .txt file.
# MAGIC * **experiment-rename-file**: CSV (old,new), YAML or JSON with new names.
# MAGIC * **model-rename-file**: CSV (old,new), YAML or JSON with new names of registered models and prompts.
# MAGIC * **delete-model**: Delete a registered model of that name at the destination first, all its versions.
# MAGIC * **delete-prompt**: Delete a prompt of that name at the destination first, all its versions.
# MAGIC * **delete-evaluation-dataset**: Delete evaluation datasets of that name at the destination first.
# MAGIC * **filter**: Only runs this MLflow search finds, e.g. "metrics.acc > 0.9".
# MAGIC * **run-start-time**: Only runs started at or after this time (UTC: 2024-05-01, or 7d for an age).
# MAGIC * **runs-until**: Only runs started at or before this time.
# MAGIC * **check-nested-runs**: With chosen runs, take their parents and children too.
# MAGIC * **export-deleted-runs**: Take deleted experiments and runs too; they arrive deleted.
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
# MAGIC * **permissions**: Take permissions too: at Databricks those of each experiment and model; of a server with
# MAGIC   users those and its users and roles, no passwords. For administrators.
# MAGIC * **principals**: With permissions: CSV (source,destination), YAML or JSON that says who at the source is who
# MAGIC   at the destination, where one of them is Databricks: users by name, groups by display name, service
# MAGIC   principals by application id. Nobody for a name without a destination; everyone else keeps theirs.
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

dbutils.widgets.combobox("src-mlflow-uri", "databricks", ["databricks", "databricks-uc"], "01 src-mlflow-uri")
dbutils.widgets.text("src-artifact-root", "", "02 src-artifact-root")
dbutils.widgets.combobox("dst-mlflow-uri", "databricks", ["databricks", "databricks-uc"], "03 dst-mlflow-uri")
dbutils.widgets.text("dst-artifact-root", "", "04 dst-artifact-root")
dbutils.widgets.text("experiments", "all", "05 experiments")
dbutils.widgets.text("experiment-rename-file", "", "06 experiment-rename-file")
dbutils.widgets.text("model-rename-file", "", "07 model-rename-file")
dbutils.widgets.dropdown("delete-model", "false", ["true", "false"], "08 delete-model")
dbutils.widgets.dropdown("delete-prompt", "false", ["true", "false"], "09 delete-prompt")
dbutils.widgets.dropdown("delete-evaluation-dataset", "false", ["true", "false"], "10 delete-evaluation-dataset")
dbutils.widgets.text("filter", "", "11 filter")
dbutils.widgets.text("run-start-time", "", "12 run-start-time")
dbutils.widgets.text("runs-until", "", "13 runs-until")
dbutils.widgets.dropdown("check-nested-runs", "false", ["true", "false"], "14 check-nested-runs")
dbutils.widgets.dropdown("export-deleted-runs", "true", ["true", "false"], "15 export-deleted-runs")
dbutils.widgets.text("rename", "", "16 rename")
dbutils.widgets.text("prefix", "", "17 prefix")
dbutils.widgets.dropdown("on-conflict", "none", ["none", "skip", "fail", "new-name", "update"], "18 on-conflict")
dbutils.widgets.text("dst-experiment-dir", "", "19 dst-experiment-dir")
dbutils.widgets.text("stages-to-aliases", "", "20 stages-to-aliases")
dbutils.widgets.text("aliases-to-stages", "", "21 aliases-to-stages")
dbutils.widgets.dropdown("online", "false", ["true", "false"], "22 online")
dbutils.widgets.dropdown("keep-ids", "false", ["true", "false"], "23 keep-ids")
dbutils.widgets.dropdown("import-source-tags", "false", ["true", "false"], "24 import-source-tags")
dbutils.widgets.dropdown("use-src-user-id", "true", ["true", "false"], "25 use-src-user-id")
dbutils.widgets.dropdown("artifacts", "copy", ["copy", "skip", "reference"], "26 artifacts")
dbutils.widgets.text("max-artifact-size", "", "27 max-artifact-size")
dbutils.widgets.dropdown("permissions", "false", ["true", "false"], "28 permissions")
dbutils.widgets.text("principals", "", "29 principals")
dbutils.widgets.dropdown("checksum", "false", ["true", "false"], "30 checksum")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "31 dry-run")
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
    "32 allow-loss",
)
dbutils.widgets.text("state-dir", "", "33 state-dir")
dbutils.widgets.text("workers", "8", "34 workers")
dbutils.widgets.text("workspace", "", "35 workspace")
dbutils.widgets.text("config", "", "36 config")
dbutils.widgets.text("patience", "120.0", "37 patience")
dbutils.widgets.text("report", "", "38 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "39 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("copy-all", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
