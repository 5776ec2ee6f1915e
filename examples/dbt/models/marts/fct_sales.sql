select * from {{ ref('stg_sales') }}
