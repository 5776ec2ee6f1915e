select
    "Version" as version,
    {{ month_start('"Date"') }} as month,
    "Account" as account,
    "CostCenter" as cost_center,
    "Grade" as grade,
    "Currency" as currency,
    "AMOUNT" as amount,
    "FTE" as full_time_equivalents
from {{ current_rows('workforce_planning_fact_data') }} as facts
