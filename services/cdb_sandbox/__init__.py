"""An exchange to test against: speaks MEXC's REST and WebSocket protocols and fills from recorded data.

In tests: `services.cdb_sandbox.sandbox.SandboxExchange`. As a service: `services.cdb_sandbox.service`.
"""
