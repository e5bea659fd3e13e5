"""Parity: the orders of a live or sandbox run once more through the paper exchange, and what made the difference."""
