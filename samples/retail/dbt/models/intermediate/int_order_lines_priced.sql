-- Inlined where it is used: it reads a mart, and a view of the warehouse must not need another database to open.
{{ config(materialized='ephemeral') }}

select
    lines.invoice_no,
    lines.line_kind,
    lines.is_goods,
    lines.quantity,
    lines.line_amount,
    lines.sale_date,
    lines.customer_id,
    cast(lines.quantity * prices.list_price as decimal(18, 4)) as list_amount
from {{ ref('fct_order_lines') }} as lines
left join {{ ref('dim_products') }} as prices
    on lines.stock_code = prices.stock_code
    and lines.sale_date >= prices.valid_from
    and (lines.sale_date < prices.valid_to or prices.valid_to is null)
