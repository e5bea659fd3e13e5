"""Tells people: reads alerts from the journal and sends them through apprise, at least once."""
