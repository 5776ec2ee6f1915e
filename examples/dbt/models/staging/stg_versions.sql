select
    "ID" as version,
    "Description" as version_name,
    "CATEGORY" as category
from {{ current_rows('financial_planning_version_master') }} as members
