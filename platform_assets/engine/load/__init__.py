"""Loading: what one transaction does. Deliveries are read, validated, stored, compared by key, replayed.

Belongs here: what becomes of a delivery. Other rooms: SQL of the ledger (store), formats (readers).
"""

from platform_assets.engine.load.delivery import Load as Load
from platform_assets.engine.load.offer import Outcome as Outcome
