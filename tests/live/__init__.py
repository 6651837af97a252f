"""Servers set up as people run them."""
