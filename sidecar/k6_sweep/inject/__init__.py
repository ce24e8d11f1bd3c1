"""`k6-sweep inject`: adds the sidecar to manifests."""
