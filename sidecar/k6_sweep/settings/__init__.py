"""What users say: options, variables, URLs, and their contradictions."""
