"""The SDK's own tests of a tap, on the sample tenant."""

from singer_sdk.testing import get_tap_test_class

from tap_sac.tap import TapSAC

TestTapSAC = get_tap_test_class(TapSAC, config={"demo": True})
