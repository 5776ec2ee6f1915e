"""Tests of tap-sac."""
