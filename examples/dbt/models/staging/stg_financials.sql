select
    "Version" as version,
    {{ month_start('"Date"') }} as month,
    "Account" as account,
    "CostCenter" as cost_center,
    "Currency" as currency,
    "SignedData" as amount
from {{ current_rows('financial_planning_fact_data') }} as facts
