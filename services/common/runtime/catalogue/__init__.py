"""Every metric of every service, defined once: name, kind, labels and what it means.

The services register nothing that does not stand here, and the handbook's table (`backoffice/docs/metriken.md`) is
made from it. Names are `cdb_*`, full words, base units: seconds, bytes, ratios (0.05 is 5 %), usdt; counters end in
`_total`.
"""
