with loaded as (
    select distinct _delivery_id, _revision
    from {{ ref('fct_order_lines') }}
)

select loaded._delivery_id, loaded._revision
from loaded
left join {{ source('platform', 'deliveries') }} as deliveries
    on loaded._delivery_id = deliveries.delivery_id
    and loaded._revision = deliveries.revision
    and deliveries.status = 'accepted'
where deliveries.delivery_id is null
