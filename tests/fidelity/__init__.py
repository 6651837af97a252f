"""Whole migrations, judged by code that shares nothing with the tool."""
