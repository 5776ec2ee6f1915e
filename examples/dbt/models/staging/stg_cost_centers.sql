select
    "ID" as cost_center,
    "Description" as cost_center_name,
    "Status" as status,
    "City" as city,
    "H1_LEVEL" as organization_level,
    "H1_PATH" as organization_path,
    "H2_LEVEL" as cost_type_level,
    "H2_PATH" as cost_type_path
from {{ current_rows('financial_planning_cost_center_master_with_hierarchy') }} as members
