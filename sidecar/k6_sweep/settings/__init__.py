"""Settings from the command line and the environment: options, variables, URLs, and their contradictions."""
