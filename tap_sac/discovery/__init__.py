"""Discovery: finds the streams of a tenant, by the settings and the catalog."""
