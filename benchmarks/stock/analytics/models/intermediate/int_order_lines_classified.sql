select
    *,
    case
        when invoice_no like 'C%' then 'cancellation'
        when invoice_no like 'A%' then 'adjustment'
        when quantity < 0 and unit_price = 0 then 'write_off'
        when quantity < 0 then 'return'
        when unit_price = 0 and customer_id is null then 'adjustment'
        else 'sale'
    end as line_kind,
    stock_code not in (
        'AMAZONFEE', 'B', 'BANK CHARGES', 'C2', 'CRUK', 'D', 'DOT', 'M', 'POST', 'S'
    ) as is_goods,
    cast(quantity * unit_price as decimal(18, 4)) as line_amount,
    cast(invoiced_at as date) as sale_date
from {{ ref('stg_order_lines') }}
