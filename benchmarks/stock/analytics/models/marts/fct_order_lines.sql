select
    invoice_no,
    stock_code,
    description,
    line_kind,
    is_goods,
    quantity,
    unit_price,
    line_amount,
    sale_date,
    invoiced_at,
    customer_id,
    country
from {{ ref('int_order_lines_classified') }}
