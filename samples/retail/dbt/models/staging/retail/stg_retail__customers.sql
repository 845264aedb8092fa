with source as (
    select * from {{ source('retail', 'customers') }}
),

renamed as (
    select
        {{ customer_id_key('customer_id') }} as customer_id,
        {{ blank_to_null('name') }} as customer_name,
        {{ blank_to_null('email') }} as email,
        {{ blank_to_null('country') }} as country,
        {{ blank_to_null('segment') }} as segment,
        registered_on,
        updated_at,
        _delivery_id,
        _line
    from source
)

select * from renamed
