# Databricks notebook source
# MAGIC %md
# MAGIC # plan
# MAGIC
# MAGIC Show what would move from the first place to the second, how much, and what the second can't hold.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **places** *: As it is typed behind the command's name: PLACE PLACE.
# MAGIC * **experiments**: Only these, with what belongs to them: names, ids or globs with commas, a .txt file, or all
# MAGIC   [default: everything; of a bundle, what its export was asked for].
# MAGIC * **models**: Only these registered models with their versions and what those were made of: names or globs, or
# MAGIC   all.
# MAGIC * **prompts**: Only these prompts: names or globs, or all.
# MAGIC * **experiment-rename-file**: CSV (old,new), YAML or JSON with new names.
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
# MAGIC * **run-ids**: Only these runs: ids separated by commas, or a .txt file.
# MAGIC * **filter**: Only runs this MLflow search finds, e.g. "metrics.acc > 0.9".
# MAGIC * **run-start-time**: Only runs started at or after this time (UTC: 2024-05-01, or 7d for an age).
# MAGIC * **runs-until**: Only runs started at or before this time.
# MAGIC * **check-nested-runs**: With chosen runs, take their parents and children too.
# MAGIC * **export-deleted-runs**: Take deleted experiments and runs too; they arrive deleted.
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
# MAGIC * **src-artifact-root**: Where the first place is a database: the folder or address where its server keeps
# MAGIC   artifacts (what the server has as --artifacts-destination), for those it gives out itself.
# MAGIC * **dst-artifact-root**: Where the second place is a database: the folder or address where its server keeps
# MAGIC   artifacts (what the server has as --artifacts-destination), for those it gives out itself.
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

dbutils.widgets.text("places", "", "01 places *")
dbutils.widgets.text("experiments", "", "02 experiments")
dbutils.widgets.text("models", "", "03 models")
dbutils.widgets.text("prompts", "", "04 prompts")
dbutils.widgets.text("experiment-rename-file", "", "05 experiment-rename-file")
dbutils.widgets.text("rename", "", "06 rename")
dbutils.widgets.text("prefix", "", "07 prefix")
dbutils.widgets.dropdown("on-conflict", "none", ["none", "skip", "fail", "new-name", "update"], "08 on-conflict")
dbutils.widgets.text("dst-experiment-dir", "", "09 dst-experiment-dir")
dbutils.widgets.text("run-ids", "", "10 run-ids")
dbutils.widgets.text("filter", "", "11 filter")
dbutils.widgets.text("run-start-time", "", "12 run-start-time")
dbutils.widgets.text("runs-until", "", "13 runs-until")
dbutils.widgets.dropdown("check-nested-runs", "false", ["true", "false"], "14 check-nested-runs")
dbutils.widgets.dropdown("export-deleted-runs", "true", ["true", "false"], "15 export-deleted-runs")
dbutils.widgets.dropdown("artifacts", "copy", ["copy", "skip", "reference"], "16 artifacts")
dbutils.widgets.text("max-artifact-size", "", "17 max-artifact-size")
dbutils.widgets.dropdown("permissions", "false", ["true", "false"], "18 permissions")
dbutils.widgets.text("principals", "", "19 principals")
dbutils.widgets.dropdown("checksum", "false", ["true", "false"], "20 checksum")
dbutils.widgets.dropdown("dry-run", "false", ["true", "false"], "21 dry-run")
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
    "22 allow-loss",
)
dbutils.widgets.text("state-dir", "", "23 state-dir")
dbutils.widgets.text("src-artifact-root", "", "24 src-artifact-root")
dbutils.widgets.text("dst-artifact-root", "", "25 dst-artifact-root")
dbutils.widgets.text("workers", "8", "26 workers")
dbutils.widgets.text("workspace", "", "27 workspace")
dbutils.widgets.text("config", "", "28 config")
dbutils.widgets.text("patience", "120.0", "29 patience")
dbutils.widgets.text("report", "", "30 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "31 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("plan", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
