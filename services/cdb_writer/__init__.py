"""cdb_writer: the audit trail. Event store with hash chain, five tables for people, recovery of Redis."""
