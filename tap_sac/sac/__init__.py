"""SAC's Data Export Service: start at `export.client.SACClient`; `errors` has what it raises.

Nothing here knows Singer, the configuration or the command line.
"""
