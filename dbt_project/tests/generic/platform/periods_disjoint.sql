{# At most one period [from, to) per key on any day, and none that is empty; NULL in `to` is open. #}
{% test periods_disjoint(model, key, from_column, to_column) %}
with neighbours as (
    select
        {{ key }},
        {{ from_column }},
        {{ to_column }},
        lead({{ from_column }}) over (partition by {{ key }} order by {{ from_column }}) as next_from
    from {{ model }}
)

select {{ key }}, {{ from_column }}
from neighbours
where {{ to_column }} <= {{ from_column }}
    or (next_from is not null and ({{ to_column }} is null or {{ to_column }} > next_from))
{% endtest %}
