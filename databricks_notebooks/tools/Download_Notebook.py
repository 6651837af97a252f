# Databricks notebook source
# MAGIC %md
# MAGIC # download-notebook
# MAGIC
# MAGIC Fetch a notebook of a Databricks workspace, one file for each format. A file that is there already is
# MAGIC replaced.
# MAGIC
# MAGIC What the widgets mean (*: has to be filled in):
# MAGIC
# MAGIC * **notebook** *: The notebook's path in the workspace.
# MAGIC * **output-dir** *: The folder it is written to; made if it isn't there.
# MAGIC * **revision**: A run's mlflow.databricks.notebookRevisionID [default: the newest].
# MAGIC * **notebook-formats**: SOURCE, HTML, JUPYTER, DBC, with commas between them.
# MAGIC * **tracking-uri**: The workspace, as databricks://PROFILE.
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

dbutils.widgets.text("notebook", "", "01 notebook *")
dbutils.widgets.text("output-dir", "", "02 output-dir *")
dbutils.widgets.text("revision", "", "03 revision")
dbutils.widgets.text("notebook-formats", "SOURCE", "04 notebook-formats")
dbutils.widgets.combobox("tracking-uri", "databricks", ["databricks", "databricks-uc"], "05 tracking-uri")
dbutils.widgets.text("workers", "8", "06 workers")
dbutils.widgets.text("workspace", "", "07 workspace")
dbutils.widgets.text("config", "", "08 config")
dbutils.widgets.text("patience", "120.0", "09 patience")
dbutils.widgets.text("report", "", "10 report")
dbutils.widgets.dropdown("verbose", "0", ["0", "1", "2"], "11 verbose")

# COMMAND ----------

from mlflow_migration import notebook

result = notebook.run("download-notebook", dbutils.widgets.getAll(), displayHTML)

# COMMAND ----------

dbutils.notebook.exit(result)
