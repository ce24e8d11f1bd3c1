"""The commands: each module has one, of its own name, which wires the steps of the one road and returns its report."""
