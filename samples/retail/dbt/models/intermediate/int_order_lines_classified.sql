with lines as (
    select * from {{ ref('stg_retail__order_lines') }}
)

select
    invoice_no,
    stock_code,
    description,
    case
        when invoice_no like 'C%' then 'cancellation'
        when invoice_no like 'A%' then 'adjustment'
        when quantity < 0 and unit_price = 0 then 'write_off'
        when quantity < 0 then 'return'
        -- Free units without a buyer are stock found or corrected, the mirror image of a write-off.
        when unit_price = 0 and customer_id is null then 'adjustment'
        else 'sale'
    end as line_kind,
    -- Postage, manual entries, discounts, fees, samples and bad debt are booked as lines too.
    stock_code not in (
        'AMAZONFEE', 'B', 'BANK CHARGES', 'C2', 'CRUK', 'D', 'DOT', 'M', 'POST', 'S'
    ) as is_goods,
    quantity,
    unit_price,
    cast(quantity * unit_price as decimal(18, 4)) as line_amount,
    {{ business_date('invoiced_at') }} as sale_date,
    invoiced_at,
    customer_id,
    country,
    _delivery_id,
    _line
from lines
