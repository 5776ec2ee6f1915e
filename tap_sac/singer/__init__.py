"""Singer, spoken fast; nothing here knows of HTTP."""
