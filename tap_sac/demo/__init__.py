"""A sample tenant: the Data Export Service of a made-up company, over HTTP on loopback.

It does not depend on the rest of the tap, and behaves like SAC's documentation and live tenants.
"""

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.server import SampleTenant, sample_tenant

__all__ = ["Behaviour", "SampleTenant", "sample_tenant"]
