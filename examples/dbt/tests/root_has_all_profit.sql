-- The root of the hierarchy of accounts has the profit of all facts.
select facts.version, facts.currency
from (
    select version, currency, sum(profit) as profit from {{ ref('fct_financials') }} group by version, currency
) as facts
left join {{ ref('profit_by_account') }} as root
    on root.level = 1 and root.version = facts.version and root.currency = facts.currency
where root.profit is null or root.profit <> facts.profit
