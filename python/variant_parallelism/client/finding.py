"""Whether a fleet's gateway runs already."""

from __future__ import annotations

from variant_parallelism.client.exchange import GatewayError
from variant_parallelism.client.synchronous import Client
from variant_parallelism.fleet import Fleet

_PROBE_TIMEOUT_S = 3.0


def find_gateway(fleet: Fleet) -> Client | None:
    """The gateway of this very fleet (by name) at `[gateway] http`, or None.

    VpError if the one that runs there wants another token than this fleet's.
    """
    with Client(fleet, timeout_s=_PROBE_TIMEOUT_S) as probe:
        try:
            found = probe.fleet().fleet
        except GatewayError as error:
            if error.status == 401 and fleet.table.gateway.token_file is not None:
                raise
            return None
    return Client(fleet) if found == fleet.table.name else None
