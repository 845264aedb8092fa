with compared as (
    select
        *,
        lag(list_price) over (partition by stock_code order by effective_on) as previous_price
    from {{ ref('int_product_prices_latest') }}
),

numbered as (
    select
        *,
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
        max(description) as description,
        max(category) as category,
        min(list_price) as list_price,
        min(effective_on) as valid_from
    from numbered
    group by stock_code, period_no
)

select
    *,
    lead(valid_from) over (partition by stock_code order by valid_from) as valid_to
from periods
