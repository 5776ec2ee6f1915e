-- To the last digit: what the marts add up to is what the tap delivered.
with totals as (
    select 'amount' as measure,
        (select sum("SignedData") from {{ current_rows('financial_planning_fact_data') }} as facts) as delivered,
        (select sum(amount) from {{ ref('fct_financials') }}) as found
    union all
    select 'plan and actual',
        (select sum("SignedData") from {{ current_rows('financial_planning_fact_data') }} as facts),
        (select sum(coalesce(actual, 0) + coalesce(plan, 0) + coalesce(forecast, 0)) from {{ ref('plan_and_actual') }})
    union all
    select 'full-time equivalents',
        (select sum("FTE") from {{ current_rows('workforce_planning_fact_data') }} as facts),
        (select sum(full_time_equivalents) from {{ ref('fct_workforce') }})
    union all
    select 'revenue',
        (select sum("REVENUE") from {{ current_rows('sales_planning_fact_data') }} as facts),
        (select sum(revenue) from {{ ref('fct_sales') }})
)
select * from totals where delivered <> found or found is null or delivered is null
