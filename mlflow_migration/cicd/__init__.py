"""Files that promote models from a repository's CI, and a check of them."""
