"""What talks to MEXC for cdb_execution: signed REST requests and user streams, behind the seam `exchange.py`.

`build_exchange` is the way in. A request goes caller → transport; its answer comes back through the pure readers
(`spot_reading`, `perpetual_reading`); what is known of an order after one attempt to send it is decided in `outcome`.
"""
