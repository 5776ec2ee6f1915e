-- Each node of the hierarchy of accounts, with the sum of all that is below it.
select
    node.account,
    node.account_name,
    node.level,
    node.path,
    facts.version,
    facts.currency,
    sum(facts.profit) as profit
from {{ ref('dim_account') }} as node
inner join {{ ref('dim_account') }} as leaf
    on leaf.path = node.path or starts_with(leaf.path, node.path || '/')
inner join {{ ref('fct_financials') }} as facts on facts.account = leaf.account
group by node.account, node.account_name, node.level, node.path, facts.version, facts.currency
