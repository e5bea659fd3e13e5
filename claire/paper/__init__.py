"""Paper runs: the closed loop in one process, from an input to a journal, a result and a report."""
