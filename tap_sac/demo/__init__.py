"""A sample tenant: the Data Export Service of a made-up company, over real HTTP on loopback.

It needs nothing of the rest of the tap, and serves what SAC's documentation and live tenants show.
"""

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.server import SampleTenant, sample_tenant

__all__ = ["Behaviour", "SampleTenant", "sample_tenant"]
