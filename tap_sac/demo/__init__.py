"""A sample tenant: the Data Export Service of a made-up company, over real HTTP on loopback.

It needs nothing of the rest of the tap, and serves what SAC's documentation describes.
"""

from tap_sac.demo.server import SampleTenant, sample_tenant

__all__ = ["SampleTenant", "sample_tenant"]
