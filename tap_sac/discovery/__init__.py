"""Discovery: the streams that a tenant offers, and what the settings and the catalog choose."""
