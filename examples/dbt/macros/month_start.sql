{#- SAC writes the month of a fact as text, such as 202601. -#}
{% macro month_start(column) -%}
cast(substr({{ column }}, 1, 4) || '-' || substr({{ column }}, 5, 2) || '-01' as date)
{%- endmacro %}
