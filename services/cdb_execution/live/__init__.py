"""Live trading as pure state: what is known of orders at the exchange, the ramp, and the comparison of the books."""
