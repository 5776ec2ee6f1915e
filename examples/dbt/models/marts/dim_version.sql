{{ members('stg_versions', ['stg_financials', 'stg_workforce', 'stg_sales'], 'version', 'version_name', ['category']) }}
