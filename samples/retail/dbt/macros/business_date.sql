{# The calendar date that the shop's clock showed at an instant. Explicit, because a plain cast follows the session's time zone. #}
{% macro business_date(instant, timezone='Europe/London') -%}
    {{ return(adapter.dispatch('business_date')(instant, timezone)) }}
{%- endmacro %}

{% macro default__business_date(instant, timezone) -%}
    cast({{ instant }} at time zone '{{ timezone }}' as date)
{%- endmacro %}

{% macro spark__business_date(instant, timezone) -%}
    to_date(convert_timezone('{{ timezone }}', cast({{ instant }} as timestamp_ntz)))
{%- endmacro %}
