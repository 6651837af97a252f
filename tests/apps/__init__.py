"""Tests of MLflow as an app."""
