"""The seven layers, one module each: pure checks of plain values.

A check takes values that are there and says what it found. Whether a missing value fails (the pipeline) or leaves its
check out (the library's dict API) is decided by who calls it.
"""
