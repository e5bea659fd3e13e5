"""The status page: what `claire status` knows, read-only in a browser on this machine."""
