"""What a fit minimises, one module an objective."""
