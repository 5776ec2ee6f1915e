{{ members('stg_cost_centers', ['stg_financials', 'stg_workforce'], 'cost_center', 'cost_center_name',
           ['status', 'city', 'organization_level', 'organization_path', 'cost_type_level', 'cost_type_path']) }}
