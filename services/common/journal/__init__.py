"""The journal: one Redis stream with every event in one total order, and pub/sub as the fast path to it."""
