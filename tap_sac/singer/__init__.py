"""Singer's schemas, records, messages and files; nothing here knows about HTTP."""
