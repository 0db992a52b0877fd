"""Where fits begin that have no label to begin from."""
