"""Shows the main job on this machine: a real Redis Cluster, a real k6, and the sweep between them."""
