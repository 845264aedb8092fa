with returned as (
    select * from {{ ref('fct_order_lines') }} where line_kind in ('return', 'cancellation')
),

sold as (
    select * from {{ ref('fct_order_lines') }} where line_kind = 'sale' and customer_id is not null
)

select
    returned.invoice_no,
    returned.stock_code,
    returned.line_kind,
    returned.customer_id,
    -returned.quantity as units_returned,
    -returned.line_amount as refund_amount,
    returned.sale_date as returned_on,
    max(sold.sale_date) as sold_on
from returned
left join sold
    on returned.customer_id = sold.customer_id
    and returned.stock_code = sold.stock_code
    and returned.invoiced_at > sold.invoiced_at
group by all
