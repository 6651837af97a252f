"""How a version of this package gets to a package index: `make build`, `make publish`."""
