"""The commands: the function with a module's own name connects the steps of that command and returns its report."""
