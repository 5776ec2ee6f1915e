select
    "ID" as grade,
    "Description" as grade_name
from {{ current_rows('workforce_planning_grade_master') }} as members
