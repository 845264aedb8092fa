with lines as (
    select invoice_no, line_kind, is_goods, quantity, line_amount, sale_date, customer_id, list_amount
    from {{ ref('int_order_lines_priced') }}
)

select
    sale_date,
    count(distinct case when line_kind = 'sale' then invoice_no end) as orders,
    count(*) as order_lines,
    count(distinct case when line_kind = 'sale' then customer_id end) as customers,
    cast(coalesce(sum(case when line_kind = 'sale' and is_goods then quantity end), 0) as bigint) as units_sold,
    cast(
        coalesce(-sum(case when line_kind in ('return', 'cancellation') and is_goods then quantity end), 0) as bigint
    ) as units_returned,
    cast(coalesce(sum(case when line_kind = 'sale' then line_amount end), 0) as decimal(18, 4)) as gross_revenue,
    cast(
        coalesce(sum(case when line_kind in ('return', 'cancellation') then line_amount end), 0) as decimal(18, 4)
    ) as returns_value,
    cast(
        coalesce(sum(case when line_kind in ('adjustment', 'write_off') then line_amount end), 0) as decimal(18, 4)
    ) as adjustments_value,
    cast(sum(line_amount) as decimal(18, 4)) as net_revenue,
    -- NULL, not 0, on a day without a known list price: nothing is known about its discounts.
    cast(
        sum(case when line_kind = 'sale' and list_amount is not null then line_amount end) as decimal(18, 4)
    ) as listed_revenue,
    cast(sum(case when line_kind = 'sale' then list_amount end) as decimal(18, 4)) as revenue_at_list_price,
    cast(sum(case when line_kind = 'sale' then list_amount - line_amount end) as decimal(18, 4)) as discount_value
from lines
group by sale_date
