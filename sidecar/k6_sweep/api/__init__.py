"""Serves the sweep over HTTP."""
