"""One person in several calibrated cameras at once."""
