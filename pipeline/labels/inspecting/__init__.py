"""Tables and comparisons for people who look at generations."""
