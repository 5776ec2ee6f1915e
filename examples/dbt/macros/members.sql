{#- The members of a dimension: those that SAC lists, and those that only facts have.

    SAC books facts on '#' (nothing assigned) and NOT_IN_HIERARCHY (the measure has no such dimension),
    and the tables of members need not list them.

    master: the model that has SAC's members; facts: the models whose facts refer to them;
    id, name: their columns; others: more columns, which are null for members that SAC does not list. -#}
{% macro members(master, facts, id, name, others=[]) -%}
select
    {{ id }},
    {{ name }}
    {%- for column in others %},
    {{ column }}
    {%- endfor %}
from {{ ref(master) }}
union all
select
    used.{{ id }},
    case used.{{ id }}
        when '#' then 'Unassigned'
        when 'NOT_IN_HIERARCHY' then 'Not applicable'
        else 'Unknown member ' || used.{{ id }}
    end
    {%- for _ in others %},
    null
    {%- endfor %}
from (
    {%- for model in facts %}
    {{ 'union' if not loop.first }}
    select {{ id }} from {{ ref(model) }}
    {%- endfor %}
) as used
where not exists (
    select 1 from {{ ref(master) }} as listed where listed.{{ id }} = used.{{ id }}
)
{%- endmacro %}
