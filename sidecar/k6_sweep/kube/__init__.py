"""Talks to the Kubernetes API server: reads pods, Jobs and TestRuns, and creates Events."""
