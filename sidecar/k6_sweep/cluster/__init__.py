"""Redis: connections, topology, slots and replies; nothing of what is to be deleted."""
