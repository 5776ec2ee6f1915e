"""SAC's Data Export Service: `export.client.SACClient` is its front door, `errors` what it raises.

Nothing here knows Singer, how it is configured, or its command line.
"""
