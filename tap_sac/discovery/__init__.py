"""Discovery: what a tenant offers to read, by the settings and the catalog."""
