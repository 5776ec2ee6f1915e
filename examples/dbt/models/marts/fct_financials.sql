-- SAC exports amounts as they are stored: revenue and expense are both positive numbers. Whether a tenant flips
-- signs is not documented, so compare the result with a report in SAC.
select
    facts.version,
    facts.month,
    facts.account,
    facts.cost_center,
    facts.currency,
    facts.amount,
    case accounts.account_type
        when 'INC' then facts.amount
        when 'EXP' then -facts.amount
    end as profit
from {{ ref('stg_financials') }} as facts
left join {{ ref('dim_account') }} as accounts on accounts.account = facts.account
