"""Singer tap for SAP Analytics Cloud (SAC)."""

from tap_sac import causes as causes  # which gives all errors their words
