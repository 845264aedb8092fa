with arrived as (
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
        country,
        _delivery_id,
        _line,
        _revision
    from {{ follow_deliveries(ref('int_order_lines_classified'), also='freed_order_lines') }}
),

-- Where an earlier copy of a line may be: among what arrives, and in the fact, which holds the first bearer of
-- every line loaded so far. Reading the fact rather than raw lets the instants that arrive prune the scan.
bearers as (
    {%- set identity = [
        'invoice_no', 'invoiced_at', 'stock_code', 'quantity', 'unit_price', 'description', 'customer_id', 'country',
        '_delivery_id'
    ] %}
    select {{ identity | join(', ') }}
    from arrived
    {% if is_incremental() %}
    union all
    select {{ identity | join(', ') }}
    from {{ this }}
    {% endif %}
),

-- The same file sent again under another name, with a line more: its other lines are no second sale.
-- Raw holds a line at most once per delivery, so the first delivery to bear it keeps it and later ones lose it.
repeated as (
    select distinct
        arrived._delivery_id,
        arrived._line
    from arrived
    inner join bearers as earlier
        on {{ same_order_line('arrived', 'earlier') }}
        and earlier._delivery_id < arrived._delivery_id
)

select
    arrived.invoice_no,
    arrived.stock_code,
    arrived.description,
    arrived.line_kind,
    arrived.is_goods,
    arrived.quantity,
    arrived.unit_price,
    arrived.line_amount,
    arrived.sale_date,
    arrived.invoiced_at,
    arrived.customer_id,
    arrived.country,
    arrived._delivery_id,
    arrived._line,
    arrived._revision
from arrived
left join repeated
    on arrived._delivery_id = repeated._delivery_id
    and arrived._line = repeated._line
where repeated._line is null
