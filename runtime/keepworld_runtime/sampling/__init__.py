"""Noise and sampling."""
