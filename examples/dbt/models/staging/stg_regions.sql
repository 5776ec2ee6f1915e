select
    "ID" as region,
    "Description" as region_name
from {{ current_rows('sales_planning_xx_region_master') }} as members
