# Databricks notebook source
# MAGIC %md
# MAGIC # Console scripts
# MAGIC
# MAGIC A `%sh` cell has none of the credentials a notebook has. Keep a token of yours in a secret scope, name both in
# MAGIC the widgets, and the cells below act as you; leave them empty to look at the help only.

# COMMAND ----------

# MAGIC %pip install mlflow-migration==0.1.0

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

dbutils.widgets.text("secret-scope", "", "01 secret-scope")
dbutils.widgets.text("secret-key", "", "02 secret-key")

# COMMAND ----------

import os

scope, key = dbutils.widgets.get("secret-scope"), dbutils.widgets.get("secret-key")
if scope and key:
    os.environ["DATABRICKS_TOKEN"] = dbutils.secrets.get(scope, key)
    os.environ["MLFLOW_TRACKING_URI"] = "databricks"
    if "DATABRICKS_HOST" not in os.environ:
        os.environ["DATABRICKS_HOST"] = "https://" + spark.conf.get("spark.databricks.workspaceUrl")

# COMMAND ----------

# MAGIC %sh
# MAGIC mlflow-migration --help

# COMMAND ----------

# MAGIC %sh
# MAGIC mlflow-migration --version

# COMMAND ----------

# MAGIC %md
# MAGIC Every command of the other notebooks can be typed, for example
# MAGIC
# MAGIC     export-experiments --experiments all --output-dir backup
# MAGIC     export-experiments --experiments 'fraud-*,churn' --output-dir backup --run-start-time 30d

# COMMAND ----------

# MAGIC %sh
# MAGIC if [ -n "$MLFLOW_TRACKING_URI" ]; then mlflow-migration doctor; fi
