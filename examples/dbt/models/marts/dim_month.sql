select
    month,
    cast(extract(year from month) as integer) as year,
    cast(extract(quarter from month) as integer) as quarter
from (
    select month from {{ ref('stg_financials') }}
    union
    select month from {{ ref('stg_workforce') }}
    union
    select month from {{ ref('stg_sales') }}
) as months
