select
    lines.sale_date,
    count(distinct case when lines.line_kind = 'sale' then lines.invoice_no end) as orders,
    count(*) as order_lines,
    count(distinct case when lines.line_kind = 'sale' then lines.customer_id end) as customers,
    sum(case when lines.line_kind = 'sale' and lines.is_goods then lines.quantity end) as units_sold,
    sum(case when lines.line_kind = 'sale' then lines.line_amount end) as gross_revenue,
    sum(case when lines.line_kind in ('return', 'cancellation') then lines.line_amount end) as returns_value,
    sum(lines.line_amount) as net_revenue,
    sum(case when lines.line_kind = 'sale' then lines.quantity * prices.list_price end) as revenue_at_list_price
from {{ ref('fct_order_lines') }} as lines
left join {{ ref('dim_products') }} as prices
    on lines.stock_code = prices.stock_code
    and lines.sale_date >= prices.valid_from
    and (lines.sale_date < prices.valid_to or prices.valid_to is null)
group by lines.sale_date
