"""Exporting on a Spark cluster: what a notebook needs.

from mlflow_migration.spark import Selection, export_with_spark

exported = export_with_spark("http://mlflow:5000", "/Volumes/main/backup/mlflow", Selection())
display(exported.counts)
display(exported.failures)
"""

from mlflow_migration.places import Selection
from mlflow_migration.spark.engine import Exported, How, export_with_spark

__all__ = ["Exported", "How", "Selection", "export_with_spark"]
