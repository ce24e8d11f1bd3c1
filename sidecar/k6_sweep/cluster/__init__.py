"""Talks to Redis: connections, topology, slots and replies. What a sweep deletes is decided in `sweep`."""
