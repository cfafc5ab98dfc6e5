"""Exports on the server: captures made of walks, files made of captures, by programs of their own."""
