"""What every job needs, whatever is moved: ids, the ledger, workers, selection, names, progress."""
