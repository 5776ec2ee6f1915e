"""Singer tap for SAP Analytics Cloud (SAC)."""

from tap_sac import causes as causes  # sets the messages of all errors
