# Databricks notebook source
# MAGIC %md
# MAGIC # diff
# MAGIC
# MAGIC Show every difference between two places, also what only the second one holds.
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
# MAGIC * **artifacts**: Copy artifacts, leave them out, or only keep their address (tag
# MAGIC   mlflow_migration.artifact_uri).
# MAGIC * **max-artifact-size**: Leave out larger artifacts, and say which (20k, 1.5G).
# MAGIC * **permissions**: Take permissions too: at Databricks those of each experiment and model; of a server with
# MAGIC   users those and its users and roles, no passwords. For administrators.
# MAGIC * **principals**: With permissions: CSV (source,destination), YAML or JSON that says who at the source is who
# MAGIC   at the destination, where one of them is Databricks: users by name, groups by display name, service
# MAGIC   principals by application id. Nobody for a name without a destination; everyone else keeps theirs.
# MAGIC * **allow-loss**: Show, but don't count, differences of this kind (param, tag, metric, artifact, name, link,
# MAGIC   or all of these).
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
dbutils.widgets.dropdown("artifacts", "copy", ["copy", "skip", "reference"], "11 artifacts")
dbutils.widgets.text("max-artifact-size", "", "12 max-artifact-size")
dbutils.widgets.dropdown("permissions", "false", ["true", "false"], "13 permissions")
dbutils.widgets.text("principals", "", "14 principals")
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
    "15 allow-loss",
)
dbutils.widgets.text("src-artifact-root", "", "16 src-artifact-root")
dbutils.widgets.text("dst-artifact-root", "", "17 dst-artifact-root")
dbutils.widgets.text("workers", "8", "18 workers")
dbutils.widgets.text("workspace", "", "19 workspace")
dbutils.widgets.text("config", "", "20 config")
dbutils.widgets.text("patience", "120.0", "21 patience")
dbutils.widgets.text("report", "", "22 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "23 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("diff", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
