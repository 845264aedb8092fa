{# Every delivery in a model that follows the ledger (follow_deliveries) is accepted, at the revision the ledger holds. #}
{% test follows_deliveries(model) %}
with loaded as (
    select distinct _delivery_id, _revision
    from {{ model }}
)

select loaded._delivery_id, loaded._revision
from loaded
left join {{ source('platform', 'deliveries') }} as deliveries
    on loaded._delivery_id = deliveries.delivery_id
    and loaded._revision = deliveries.revision
    and deliveries.status = 'accepted'
where deliveries.delivery_id is null
{% endtest %}
