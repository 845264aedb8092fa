with source as (
    select * from {{ source('retail', 'order_lines') }}
),

renamed as (
    select
        {{ blank_to_null('invoice_no') }} as invoice_no,
        {{ stock_code_key('stock_code') }} as stock_code,
        {{ blank_to_null('description') }} as description,
        quantity,
        invoiced_at,
        unit_price,
        {{ customer_id_key('customer_id') }} as customer_id,
        {{ blank_to_null('country') }} as country,
        _delivery_id,
        _line
    from source
)

select * from renamed
