with source as (
    select * from {{ source('retail', 'products') }}
),

renamed as (
    select
        {{ stock_code_key('stock_code') }} as stock_code,
        {{ blank_to_null('description') }} as description,
        {{ blank_to_null('category') }} as category,
        list_price,
        effective_on,
        _delivery_id,
        _line
    from source
)

select * from renamed
