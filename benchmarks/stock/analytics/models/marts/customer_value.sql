with measured as (
    select
        customer_id,
        max(case when line_kind = 'sale' then sale_date end) as last_ordered_on,
        count(distinct case when line_kind = 'sale' then invoice_no end) as frequency,
        sum(line_amount) as monetary
    from {{ ref('fct_order_lines') }}
    where customer_id is not null
    group by customer_id
),

buyers as (
    select *, max(last_ordered_on) over () - last_ordered_on as recency_days
    from measured
    where frequency > 0
)

select
    customer_id,
    recency_days,
    frequency,
    monetary,
    ntile(5) over (order by recency_days desc) as r_score,
    ntile(5) over (order by frequency) as f_score,
    ntile(5) over (order by monetary) as m_score
from buyers
