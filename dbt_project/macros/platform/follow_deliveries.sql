{#
    The rows of `relation` that an incremental model has yet to load, delivery by delivery, with the revision of each
    row's delivery as _revision. One line makes a model follow the ledger (docs/how-to/incremental-models.md):

        select order_no, amount, _delivery_id, _revision
        from {{ follow_deliveries(ref('int_orders')) }}

    It configures the model, too: before each build the rows of every delivery that was restated or replayed
    leave the table (retire_deliveries), in the transaction that then loads what is missing. So the table
    always equals a full refresh, and costs what is new. `relation` and the model's columns have _delivery_id.

    also: the name of a macro that selects the _delivery_id of further deliveries to load again, where a delivery's
    rows in the table depend on other deliveries (see retire_deliveries).
#}
{% macro follow_deliveries(relation, also=none) -%}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook='{{ retire_deliveries(' ~ (also ~ '()' if also else '') ~ ') }}'
) }}(
    select
        followed.*,
        deliveries.revision as _revision
    from {{ relation }} as followed
    {#- Chosen before they are joined, so that the scan of the relation skips what is not wanted. #}
    inner join (
        select delivery_id, revision
        from {{ source('platform', 'deliveries') }}
        where status = 'accepted'
        {%- if is_incremental() %}
            {#- What has changed is retired, so what is missing is what is new. #}
            and delivery_id not in (select distinct _delivery_id from {{ this }})
        {%- endif %}
    ) as deliveries
        on followed._delivery_id = deliveries.delivery_id
)
{%- endmacro %}

{#
    Delete every delivery whose rows in the table are no longer what a full refresh would write. State is compared
    with the ledger rather than with a watermark: a watermark cannot see that rows have left.

    also: a select of further _delivery_id to delete and so to load again. It may read
      left_the_table  deliveries (_delivery_id) that are superseded, or committed again under a higher revision
      came_back       deliveries (_delivery_id) that are to be loaded though newer ones are there already
#}
{% macro retire_deliveries(also=none) -%}
{%- if is_incremental() -%}
delete from {{ this }}
where _delivery_id in (
    with accepted as (
        select delivery_id, revision
        from {{ source('platform', 'deliveries') }}
        where status = 'accepted'
    ),

    loaded as (
        select distinct _delivery_id, _revision
        from {{ this }}
    ),

    left_the_table as (
        select loaded._delivery_id
        from loaded
        left join accepted
            on loaded._delivery_id = accepted.delivery_id
            and loaded._revision = accepted.revision
        where accepted.delivery_id is null
    ),

    came_back as (
        select accepted.delivery_id as _delivery_id
        from accepted
        left join loaded
            on accepted.delivery_id = loaded._delivery_id
            and accepted.revision = loaded._revision
        where loaded._delivery_id is null
            and accepted.delivery_id < (select max(_delivery_id) from loaded)
    )

    select _delivery_id from left_the_table
    {%- if also %}
    union
    {{ also }}
    {%- endif %}
)
{%- endif -%}
{%- endmacro %}
