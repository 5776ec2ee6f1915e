select
    "ID" as product,
    "Description" as product_name,
    "Brand" as brand,
    "H1_PATH" as path
from {{ current_rows('sales_planning_product_master_with_hierarchy') }} as members
