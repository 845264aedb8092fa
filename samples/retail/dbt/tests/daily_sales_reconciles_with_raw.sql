-- Raw is read past every model but the identity of a line, so that a row lost on the way cannot hide.
with raw_days as (
    select
        {{ business_date('invoiced_at') }} as sale_date,
        count(*) as order_lines,
        sum(quantity * unit_price) as net_revenue
    from {{ source('retail', 'order_lines') }}
    group by 1
),

shared_invoices as (
    select invoice_no
    from {{ ref('stg_retail__order_lines') }}
    group by invoice_no
    having min(_delivery_id) < max(_delivery_id)
),

bearers as (
    select
        quantity,
        unit_price,
        invoiced_at,
        _delivery_id,
        min(_delivery_id) over (
            partition by
                invoice_no, stock_code, description, quantity, invoiced_at, unit_price, customer_id, country
        ) as first_delivery_id
    from {{ ref('stg_retail__order_lines') }}
    where invoice_no in (select invoice_no from shared_invoices)
),

repeated_days as (
    select
        {{ business_date('invoiced_at') }} as sale_date,
        count(*) as order_lines,
        sum(quantity * unit_price) as net_revenue
    from bearers
    where _delivery_id > first_delivery_id
    group by 1
),

expected as (
    select
        raw_days.sale_date,
        raw_days.order_lines - coalesce(repeated_days.order_lines, 0) as order_lines,
        raw_days.net_revenue - coalesce(repeated_days.net_revenue, 0) as net_revenue
    from raw_days
    left join repeated_days on raw_days.sale_date = repeated_days.sale_date
)

select
    coalesce(expected.sale_date, actual.sale_date) as sale_date,
    expected.order_lines as expected_order_lines,
    actual.order_lines as actual_order_lines,
    expected.net_revenue as expected_net_revenue,
    actual.net_revenue as actual_net_revenue
from expected
full outer join {{ ref('daily_sales') }} as actual on expected.sale_date = actual.sale_date
where expected.sale_date is null
    or actual.sale_date is null
    or expected.order_lines <> actual.order_lines
    or expected.net_revenue <> actual.net_revenue
