"""Measurements, each one command; what they found is in docs/performance.md."""
