"""Streams: what a run reads, how, and what is proven about it."""
