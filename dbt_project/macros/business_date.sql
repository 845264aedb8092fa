{# The local calendar date of an instant. Explicit, because a plain cast follows the session's time zone. #}
{% macro business_date(instant) -%}
    {{ return(adapter.dispatch('business_date')(instant)) }}
{%- endmacro %}

{% macro default__business_date(instant) -%}
    cast({{ instant }} at time zone '{{ var("business_timezone") }}' as date)
{%- endmacro %}

{% macro spark__business_date(instant) -%}
    to_date(convert_timezone('{{ var("business_timezone") }}', cast({{ instant }} as timestamp_ntz)))
{%- endmacro %}
