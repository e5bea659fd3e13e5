"""What both sides of MEXC's protocol share: messages, signatures, names of instruments, error codes.

`cdb_ws` and `cdb_execution` speak it to the exchange, `cdb_sandbox` speaks it as the exchange. No I/O in here.
"""
