"""Any posed sequence becomes a capture: one module a kind of source, `sources.py` tells them apart, `write.py` writes."""
