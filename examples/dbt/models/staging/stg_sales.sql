select
    "Version" as version,
    {{ month_start('"Date"') }} as month,
    "Product" as product,
    "XX_REGION" as region,
    "Currency" as currency,
    "QUANTITY" as quantity,
    "REVENUE" as revenue
from {{ current_rows('sales_planning_fact_data') }} as facts
