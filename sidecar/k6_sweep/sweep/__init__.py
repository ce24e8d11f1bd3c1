"""Deletes the keys that match, from every primary, slot by slot, and proves what it did."""
