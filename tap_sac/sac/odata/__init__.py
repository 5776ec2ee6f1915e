"""OData: `$metadata`, pages, filters and literals."""
