"""Bridges: the instruments on networks of other frameworks. Each bridge is imported by its own name."""
