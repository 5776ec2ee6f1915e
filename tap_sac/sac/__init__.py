"""SAC's Data Export Service, spoken exactly; nothing here knows of Singer."""
