{{ members('stg_regions', ['stg_sales'], 'region', 'region_name') }}
