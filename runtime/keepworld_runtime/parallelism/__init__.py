"""Spreading one model over several processes."""
