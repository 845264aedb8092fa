-- A list sent again under another name restates its entries: the last one delivered counts.
with ranked as (
    select
        stock_code,
        description,
        category,
        list_price,
        effective_on,
        _delivery_id,
        _line,
        row_number() over (
            partition by stock_code, effective_on
            order by _delivery_id desc, _line desc
        ) as recency
    from {{ ref('stg_retail__products') }}
)

select
    stock_code,
    description,
    category,
    list_price,
    effective_on,
    _delivery_id,
    _line
from ranked
where recency = 1
