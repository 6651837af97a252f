"""Lineage, audit and inventory: what they tell is compared with what was made."""
