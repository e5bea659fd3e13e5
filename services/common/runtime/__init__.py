"""The process around a service: life cycle, snapshots, health, metrics, and the loop that drives a state machine."""
