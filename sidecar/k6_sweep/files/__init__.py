"""Files and streams: nothing here waits for ever, and nothing replaces what is not ours."""
