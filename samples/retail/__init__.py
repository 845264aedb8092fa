"""The sample retailer: what it delivers (simulator.py), its feeds, its marts' contracts, its dbt models (dbt/).

Belongs here: retail alone. `platform sample remove` takes it out of the deployment: it removes the links to here.
"""
