"""k6-sweep: once k6 has ended, sweep the load test's keys from the whole Redis Cluster."""
