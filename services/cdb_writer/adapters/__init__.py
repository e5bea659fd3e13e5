"""What the writer says to PostgreSQL."""
