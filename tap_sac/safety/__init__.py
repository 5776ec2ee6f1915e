"""Secrets and control characters stay out of every log and message."""
