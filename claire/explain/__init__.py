"""Answers why something was traded, and why it was not, from what the journal has recorded."""
