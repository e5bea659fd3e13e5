"""The ground floor: event contracts, journal, settings, service runtime, instruments, portfolio ledger.

Nothing in here imports a service.
"""
