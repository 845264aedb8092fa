with returned as (
    select
        invoice_no,
        stock_code,
        line_kind,
        is_goods,
        customer_id,
        country,
        quantity,
        line_amount,
        sale_date,
        invoiced_at,
        _delivery_id,
        _line
    from {{ ref('fct_order_lines') }}
    where line_kind in ('return', 'cancellation')
),

sold as (
    select invoice_no, stock_code, customer_id, unit_price, sale_date, invoiced_at, _delivery_id, _line
    from {{ ref('fct_order_lines') }}
    where line_kind = 'sale'
        and customer_id is not null
),

ranked as (
    select
        returned._delivery_id,
        returned._line,
        sold.invoice_no,
        sold.sale_date,
        sold.unit_price,
        row_number() over (
            partition by returned._delivery_id, returned._line
            order by sold.invoiced_at desc, sold._delivery_id desc, sold._line desc
        ) as recency
    from returned
    inner join sold
        on returned.customer_id = sold.customer_id
        and returned.stock_code = sold.stock_code
        and returned.invoiced_at > sold.invoiced_at
)

select
    returned.invoice_no,
    returned.stock_code,
    returned.line_kind,
    returned.is_goods,
    returned.customer_id,
    returned.country,
    cast(-returned.quantity as bigint) as units_returned,
    cast(-returned.line_amount as decimal(18, 4)) as refund_amount,
    returned.sale_date as returned_on,
    last_sale.invoice_no as sale_invoice_no,
    last_sale.sale_date as sold_on,
    last_sale.unit_price as sale_unit_price,
    cast({{ dbt.datediff('last_sale.sale_date', 'returned.sale_date', 'day') }} as bigint) as days_since_sale,
    returned._delivery_id,
    returned._line
from returned
left join ranked as last_sale
    on returned._delivery_id = last_sale._delivery_id
    and returned._line = last_sale._line
    and last_sale.recency = 1
