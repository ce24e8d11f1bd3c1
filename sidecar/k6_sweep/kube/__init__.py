"""What the Kubernetes API server is asked and told."""
