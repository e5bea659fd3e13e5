"""Replay: the recorded inputs once more through the kernel."""
