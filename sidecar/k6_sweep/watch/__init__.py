"""Finds out when k6 has ended; never guesses."""
