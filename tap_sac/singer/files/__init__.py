"""Files of BATCH messages."""
