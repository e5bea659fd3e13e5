"""The risk manager: seven layers, sizing, reservations, protective exits and the trading state.

A signal comes in, a decision with the verdict of every layer goes out, and an order only with an approved decision.
"""
