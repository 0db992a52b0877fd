"""Closed loops on made people, and how far labels and networks are from the truth: the parts of `truth-loop`."""
