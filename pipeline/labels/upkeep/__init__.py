"""Care of a store over time: verify, roll back, forget, expire, relocate."""
