-- One row for what each version has said of the same thing.
select
    month,
    account,
    cost_center,
    currency,
    sum(case when version = 'public.Actual' then amount end) as actual,
    sum(case when version = 'public.Plan' then amount end) as plan,
    sum(case when version = 'public.Rolling Forecast' then amount end) as forecast,
    coalesce(sum(case when version = 'public.Actual' then amount end), 0)
        - coalesce(sum(case when version = 'public.Plan' then amount end), 0) as variance
from {{ ref('fct_financials') }}
group by month, account, cost_center, currency
