"""Scenarios: a matrix of periods, parameters, profiles and stressed markets, each a paper run, side by side."""
