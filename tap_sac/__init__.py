"""Singer tap for SAP Analytics Cloud (SAC)."""
