{#
    relationships, with two differences: silent while the other side has no rows at all (a feed that delivers nothing
    is that feed's alert, not this one's), and one failure per unknown value rather than per row.
#}
{% test known_in(model, column_name, to, field) %}
with child as (
    select distinct {{ column_name }}
    from {{ model }}
    where {{ column_name }} is not null
)

select child.{{ column_name }}
from child
left join {{ to }} as parent on child.{{ column_name }} = parent.{{ field }}
where parent.{{ field }} is null
    and exists (select 1 from {{ to }})
{% endtest %}
