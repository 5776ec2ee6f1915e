"""Keeps secrets and control characters out of all logs and messages."""
