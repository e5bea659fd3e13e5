"""What the notifier does outside: sending, drawing, local time, and the file that survives it."""
