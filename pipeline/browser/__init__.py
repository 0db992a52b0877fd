"""The label browser: people and their labels through the rounds, on a local page (docs/browser.md)."""
