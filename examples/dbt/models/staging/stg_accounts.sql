select
    "ID" as account,
    "Description" as account_name,
    "accType" as account_type,
    "H1_PARENTID" as parent_account,
    "H1_LEVEL" as level,
    "H1_PATH" as path
from {{ current_rows('financial_planning_account_master_with_hierarchy') }} as members
