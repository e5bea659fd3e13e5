"""The services of Claire de Binare: each a thin process around pure state machines."""
