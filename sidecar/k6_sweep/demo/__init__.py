"""Shows k6-sweep's main job on this machine, with a real Redis Cluster and a real k6."""
