"""Promotion of a model's version from one environment to the next: policy, gates, flow, record, history, rollback."""
