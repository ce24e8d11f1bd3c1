"""Deletes the matching keys from every primary, slot by slot, and proves which slots were swept."""
