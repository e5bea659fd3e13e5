"""Drills: a trading state is tripped on a copy of what is held, and each promise about it is looked at."""
