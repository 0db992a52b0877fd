"""A mesh as a target: patches of it, and the bone transforms that explain them."""
