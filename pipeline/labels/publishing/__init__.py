"""From staged files to a published generation: the audit, then one atomic commit."""
