# Databricks notebook source
# MAGIC %md
# MAGIC # set-model-signature
# MAGIC
# MAGIC Give a model a signature: its MLmodel file is written anew where it lies, with all else in it as it is. The
# MAGIC files of a version of a registered model are those of the run or logged model it was made of, so that these
# MAGIC get the signature too. They are written through the server; where it doesn't let them, the command says so.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **model-uri** *: The model: models:/name/1, models:/name@alias, models:/m-… or runs:/id/path.
# MAGIC * **input-file** *: CSV with samples of training data, or a whole signature as .json, as get-model-signature
# MAGIC   writes it.
# MAGIC * **tracking-uri**: The server (http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE],
# MAGIC   databricks-app://[PROFILE/]NAME), or the address of a database or file store.
# MAGIC * **artifact-root**: Of a database: the folder or address where its server keeps artifacts (what the server
# MAGIC   has as --artifacts-destination), for those it gives out itself.
# MAGIC * **output-file**: CSV with samples of predictions.
# MAGIC * **overwrite-signature**: Replace a signature that the model has already.
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

dbutils.widgets.text("model-uri", "", "01 model-uri *")
dbutils.widgets.text("input-file", "", "02 input-file *")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "03 tracking-uri")
dbutils.widgets.text("artifact-root", "", "04 artifact-root")
dbutils.widgets.text("output-file", "", "05 output-file")
dbutils.widgets.dropdown("overwrite-signature", "false", ["true", "false"], "06 overwrite-signature")
dbutils.widgets.text("workers", "8", "07 workers")
dbutils.widgets.text("workspace", "", "08 workspace")
dbutils.widgets.text("config", "", "09 config")
dbutils.widgets.text("patience", "120.0", "10 patience")
dbutils.widgets.text("report", "", "11 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "12 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("set-model-signature", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
