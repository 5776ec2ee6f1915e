{#- The rows of a table that SAC still has.

    target-postgres keeps rows that are gone and marks them in _sdc_deleted_at. Parquet files of an earlier
    run lie beside those of the last one, and have an older _sdc_table_version. -#}
{% macro current_rows(table) -%}
{%- set relation = source('sac', table) -%}
{%- set names = column_names(relation) -%}
(
    select *
    from {{ relation }}
    where true
    {%- if '_sdc_deleted_at' in names %}
        and _sdc_deleted_at is null
    {%- endif %}
    {%- if target.type == 'duckdb' and '_sdc_table_version' in names %}
        and _sdc_table_version = (select max(_sdc_table_version) from {{ relation }})
    {%- endif %}
)
{%- endmacro %}

{% macro column_names(relation) -%}
{%- set names = [] -%}
{%- if execute -%}
    {%- for column in run_query('select * from ' ~ relation ~ ' limit 0').columns -%}
        {%- do names.append(column.name) -%}
    {%- endfor -%}
{%- endif -%}
{{ return(names) }}
{%- endmacro %}
