with source as (
    select * from {{ source('retail', 'order_lines') }}
),

deliveries as (
    select delivery_id, revision
    from {{ source('platform', 'deliveries') }}
    where status = 'accepted'
),

renamed as (
    select
        {{ blank_to_null('source.invoice_no') }} as invoice_no,
        {{ stock_code_key('source.stock_code') }} as stock_code,
        {{ blank_to_null('source.description') }} as description,
        source.quantity,
        source.invoiced_at,
        source.unit_price,
        {{ customer_id_key('source.customer_id') }} as customer_id,
        {{ blank_to_null('source.country') }} as country,
        source._delivery_id,
        source._line,
        deliveries.revision as _revision
    from source
    inner join deliveries on source._delivery_id = deliveries.delivery_id
)

select * from renamed
