{{ members('stg_accounts', ['stg_financials', 'stg_workforce'], 'account', 'account_name',
           ['account_type', 'parent_account', 'level', 'path']) }}
