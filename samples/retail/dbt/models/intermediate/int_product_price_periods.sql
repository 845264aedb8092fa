-- Weekly entries folded into periods of one price. A product missing from a list keeps its price: its row may sit
-- in quarantine, and a hole would take the list price from sales that had one. last_listed_on tells.
with entries as (
    select stock_code, description, category, list_price, effective_on
    from {{ ref('product_prices') }}
    where dbt_valid_to is null
),

compared as (
    select
        stock_code,
        effective_on,
        list_price,
        lag(list_price) over (partition by stock_code order by effective_on) as previous_price
    from entries
),

numbered as (
    select
        stock_code,
        effective_on,
        list_price,
        sum(case when list_price = previous_price then 0 else 1 end) over (
            partition by stock_code
            order by effective_on
            rows between unbounded preceding and current row
        ) as period_no
    from compared
),

periods as (
    select
        stock_code,
        period_no,
        min(list_price) as list_price,
        min(effective_on) as valid_from,
        max(effective_on) as last_listed_on
    from numbered
    group by stock_code, period_no
),

bounded as (
    select
        stock_code,
        list_price,
        valid_from,
        lead(valid_from) over (partition by stock_code order by valid_from) as valid_to,
        last_listed_on
    from periods
)

select
    bounded.stock_code,
    -- Text and category as the period last listed them; they open no period of their own.
    entries.description,
    entries.category,
    bounded.list_price,
    bounded.valid_from,
    bounded.valid_to,
    bounded.last_listed_on
from bounded
inner join entries
    on bounded.stock_code = entries.stock_code
    and bounded.last_listed_on = entries.effective_on
