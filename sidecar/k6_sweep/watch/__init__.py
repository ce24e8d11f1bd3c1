"""Detects when k6 has ended, and never guesses."""
